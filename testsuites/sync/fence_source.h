/* SPDX-License-Identifier: MIT */
/*
 * Fences that a stress case can make, attach and signal, from whatever the kernel has for it:
 * "drm:vgem" (or another address of vgem), "sw_sync" or "refdev…".
 */
#ifndef FARM_FENCE_SOURCE_H
#define FARM_FENCE_SOURCE_H

#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "sw_sync.h"

#include <string.h>
#include <unistd.h>

#define SOURCE_BUFFERS 8
#define SOURCE_FENCES 4
#define SOURCE_LENGTH 256u
#define SOURCE_POINTS 16u	/* of a timeline that are pending at once */

/*
 * One process's own way to fences, over buffers that it shares with others.
 *
 * It keeps a reference of its own to each point of its timeline that is pending. sync_timeline_signal()
 * takes one for granted: a point that another process lets go of for good just then is used after it was
 * freed (drivers/dma-buf/sw_sync.c, Linux 6.12 and 7.3). `loose` leaves them to chance.
 */
struct fence_source {
	enum { SOURCE_VGEM, SOURCE_SW_SYNC, SOURCE_REFDEV } kind;
	int fd;
	unsigned int count;
	const int *buffers;			/* dma-bufs, the caller's */
	uint32_t handle[SOURCE_BUFFERS];	/* GEM handles, or attachments */
	uint32_t pending[SOURCE_FENCES];	/* vgem: fences that are not signalled */
	uint32_t value, signalled;		/* sw_sync: of the last fence; where the timeline is */
	int point[SOURCE_POINTS];		/* sw_sync: sync_files of those between, by value */
	bool loose;
};

static inline struct fence_source source_open(const char *address, const int *buffers,
					      unsigned int count)
{
	struct fence_source source = { .count = count, .buffers = buffers };

	if (count > SOURCE_BUFFERS)
		broken("%u buffers, expected %d at most", count, SOURCE_BUFFERS);
	if (address_is(address, "drm")) {
		source.kind = SOURCE_VGEM;
		source.fd = drm_open(address);
		for (unsigned int i = 0; i < count; i++)
			source.handle[i] = prime_import(source.fd, buffers[i]);
	} else if (!strcmp(address, "sw_sync")) {
		source.kind = SOURCE_SW_SYNC;
		source.fd = timeline_open();
	} else {
		source.kind = SOURCE_REFDEV;
		source.fd = refdev_open(address);
		for (unsigned int i = 0; i < count; i++)
			source.handle[i] = refdev_attach(source.fd, buffers[i], REFDEV_CACHED);
	}
	return source;
}

/* Signals the fence in `slot`; nothing where there is none. */
static inline void source_signal(struct fence_source *source, unsigned int slot)
{
	if (source->kind == SOURCE_SW_SYNC) {
		if (source->signalled == source->value)
			return;	/* a timeline ahead of its fences has them born signalled */
		advance(source->fd, 1);
		if (!source->loose)
			close(source->point[source->signalled % SOURCE_POINTS]);
		source->signalled++;
	} else if (source->kind == SOURCE_VGEM && source->pending[slot]) {
		vgem_fence_signal(source->fd, source->pending[slot]);
		source->pending[slot] = 0;
	}	/* refdev's end by themselves */
}

/*
 * Gives buffer `at` a new fence, for readers to come (write) or only for writers; the one that was in
 * `slot` is signalled first. False: vgem has found another's fence in the way (EBUSY).
 */
static inline bool source_attach(struct fence_source *source, unsigned int at, unsigned int slot,
				 bool write)
{
	uint32_t usage = write ? DMA_BUF_SYNC_WRITE : DMA_BUF_SYNC_READ;
	int err, file;

	switch (source->kind) {
	case SOURCE_VGEM:
		source_signal(source, slot);
		err = vgem_fence_attach_raw(source->fd, source->handle[at],
					    write ? VGEM_FENCE_WRITE : 0, &source->pending[slot]);
		check(!err || err == -EBUSY, "VGEM_FENCE_ATTACH: %s", errname(err));
		if (err)
			source->pending[slot] = 0;
		return !err;
	case SOURCE_SW_SYNC:
		if (!source->loose && source->value - source->signalled == SOURCE_POINTS)
			source_signal(source, slot);
		file = fence_at(source->fd, source->value + 1);
		sync_file_import(source->buffers[at], usage, file);
		if (source->loose)
			close(file);
		else
			source->point[source->value % SOURCE_POINTS] = file;
		source->value++;
		return true;
	case SOURCE_REFDEV:
		refdev_start(source->fd, source->handle[at], write ? REFDEV_WRITE : 0, 0,
			     SOURCE_LENGTH);
		return true;
	}
	return false;
}

/* Signals what is pending and lets go of everything. */
static inline void source_close(struct fence_source *source)
{
	while (source->kind == SOURCE_SW_SYNC && source->signalled != source->value)
		source_signal(source, 0);
	for (unsigned int slot = 0; slot < SOURCE_FENCES && source->kind == SOURCE_VGEM; slot++)
		source_signal(source, slot);
	for (unsigned int i = 0; i < source->count; i++) {
		if (source->kind == SOURCE_VGEM)
			gem_close(source->fd, source->handle[i]);
		else if (source->kind == SOURCE_REFDEV)
			refdev_detach(source->fd, source->handle[i]);
	}
	close(source->fd);
}

#endif
