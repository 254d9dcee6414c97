/* SPDX-License-Identifier: MIT */
/* What dma:dma_map_sg tells of the maps that this process makes: how many entries became what. */
#ifndef FARM_TRACE_H
#define FARM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One event (include/trace/events/dma.h, Linux 6.12). It lists the first 128 segments at most. */
struct dma_map {
	char device[48];	/* dev_name() */
	unsigned int entries;	/* of the scatterlist, as the exporter made it */
	unsigned int segments;	/* that the DMA API made of them */
	unsigned int listed;	/* of these in the event */
	uint64_t address;	/* of the first */
	uint64_t bytes;		/* of all that are listed */
	uint64_t largest;	/* bytes of the largest listed */
	bool contiguous;	/* each that is listed begins where the one before ends */
};

/* What a line of the event's text says; whatever else a line is gives a map of nothing. */
struct dma_map dma_map_parse(const char *line);

/*
 * Records this process's maps in a trace instance of its own, so that nobody else's tracing is in
 * the way. Between begin and end nothing may end the case. -ENOENT: the kernel has no such event.
 */
int dma_trace_begin_raw(void);
/* Ends it and returns how many maps were made; the first `room` of them are in `maps`. */
size_t dma_trace_end(struct dma_map *maps, size_t room);

#endif
