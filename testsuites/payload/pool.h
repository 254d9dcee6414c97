/* SPDX-License-Identifier: MIT */
/* Several buffers of one exporter, as a stream of frames needs them. */
#ifndef FARM_POOL_H
#define FARM_POOL_H

#include "buffer.h"

#define POOL_MAX 16u

struct pool {
	unsigned int count;
	size_t size;		/* of each, at least what was asked for */
	struct buffer buffer[POOL_MAX];
	int fd[POOL_MAX];	/* the dma-bufs */
};

/*
 * Makes `count` buffers as buffer_open() makes one; those of a V4L2 exporter belong to one queue. A
 * size that the exporter does not make is broken(): a video device's is that of its frame.
 */
struct pool pool_open(const char *exporter, unsigned int count, size_t size);
void pool_close(struct pool *pool);

/* Has another buffer of an exporter of any size at this place, where no device is at work on the old one. */
void pool_replace(struct pool *pool, uint32_t index, const char *exporter);

#ifndef FARM_HELPERS
#define pool_open(...) FARM_AT(pool_open(__VA_ARGS__))
#define pool_replace(...) FARM_AT(pool_replace(__VA_ARGS__))
#endif

#endif
