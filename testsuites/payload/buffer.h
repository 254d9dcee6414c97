/* SPDX-License-Identifier: MIT */
/* A buffer from any exporter and its import into any importer, both given by their address. */
#ifndef FARM_BUFFER_H
#define FARM_BUFFER_H

#include <linux/videodev2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "v4l2.h"

/*
 * The frame that a V4L2 device under test is asked for: XBGR32, 921600 bytes, 225 pages. One that has no such
 * format is taken with the first that it has, and whatever size it makes of that.
 */
#define FRAME_WIDTH 640
#define FRAME_HEIGHT 360
#define FRAME_FOURCC V4L2_PIX_FMT_XBGR32
#define FRAME_SIZE ((size_t)FRAME_WIDTH * FRAME_HEIGHT * 4)

/* An exporter's buffer, the dma-buf made of it, and the exporter's own CPU view of it. */
struct buffer {
	const char *address;
	int device;		/* the exporter's open node, -1 for udmabuf and heaps */
	uint32_t handle;	/* DRM: the GEM handle */
	struct v4l2_queue queue;	/* V4L2: an output queue, or without one capture, with one MMAP buffer */
	int fd;			/* the dma-buf */
	size_t size;		/* by the exporter's own word, in whole pages */
	void *view;		/* see buffer_view() */
};

/*
 * Opens the exporter at `address`, makes a buffer of at least `size` bytes (V4L2: of one frame) and
 * exports it. udmabuf: physically scattered by construction as long as UDMABUF_CREATE_LIST takes one
 * entry a page (4 MiB), else as the allocator gave the pages. udmabuf:huge: of huge pages, so
 * contiguous up to 2 MiB.
 */
struct buffer buffer_open(const char *address, size_t size);

/*
 * The same for somebody who wants `frame` bytes: a V4L2 device's buffer is of that size if its own frames
 * are smaller (VIDIOC_CREATE_BUFS), as far as its driver can make one.
 */
struct buffer buffer_open_for(const char *address, size_t frame);
/* Closes the dma-buf, the view, the handle and the node, in this order; what is closed stays so. */
void buffer_close(struct buffer *buffer);

/*
 * The exporter's own CPU mapping, made at the first call: MAP_DUMB for DRM, the queue's mmap for
 * V4L2; udmabuf and heaps have none but the dma-buf's.
 */
void *buffer_view(struct buffer *buffer);
/* The view between SYNC START and END of `access` (DMA_BUF_SYNC_READ …) where it needs them. */
void *buffer_begin(struct buffer *buffer, uint64_t access);
void buffer_end(struct buffer *buffer, uint64_t access);
void buffer_fill(struct buffer *buffer, uint32_t seed);		/* a pattern, through the view */
int64_t buffer_mismatch(struct buffer *buffer, uint32_t seed);	/* byte offset or -1 */

/* mmap of a queue's first MMAP buffer; munmap() ends it. */
void *queue_view(struct v4l2_queue *queue, size_t size);

/* What became of an attempt to import. */
struct import {
	const char *address;
	int device;		/* DRM, reference device: the node, opened anew */
	uint32_t handle;	/* GEM handle, or the attachment */
	struct v4l2_queue queue;	/* V4L2: a capture queue, or without one output; else fd -1 */
	int error;		/* 0, or the errno of the refusal */
};

/*
 * Opens the importer; for V4L2 also sets the format and requests DMABUF buffers. Of a memory-to-memory device
 * that is the capture queue, as it is. SKIP where a video input has no signal.
 */
struct import import_open(const char *address);
/* What a buffer must have at the least for this importer, or `size` if that is more. */
size_t import_size(const struct import *import, size_t size);
/* A capture device: what is imported it writes frames into. */
bool import_captures(const struct import *import);
/*
 * One import: PRIME_FD_TO_HANDLE, QBUF of index 0 (which attaches and maps), or REFDEV_ATTACH with
 * REFDEV_CACHED (which does, too). 0 or -errno.
 */
int import_try(struct import *import, int dmabuf);
/*
 * Gives up what import_try() got, and nothing else: GEM_CLOSE, REQBUFS 0 and again one buffer, or
 * REFDEV_DETACH.
 */
void import_drop(struct import *import);
void import_close(struct import *import);

/*
 * Has a V4L2 device work on the buffer that import_try() queued. A capture device writes one frame; an output
 * device puts one out, which comes back once there is another: `next`, a dma-buf, or -1 to stop without.
 */
void import_stream(struct import *import, int next);

bool address_is(const char *address, const char *kind);	/* "drm:…" is "drm" */

/* Has a V4L2 capture device write the same frame each time, with no text over it, and slowly. */
void capture_still(struct v4l2_queue *capture);
/* Has it write another frame each time, where it can, with no text: vivid's moves by an 80th of its width. */
void capture_moving(struct v4l2_queue *capture);
/* The frame that it writes into a buffer of its own: `frame` holds queue->size bytes. */
void capture_reference(struct v4l2_queue *capture, void *frame);

/*
 * Has the device write one frame into the buffer that import_try() queued, and compares what the
 * exporter's view then holds: the reference frame, and behind it the pattern of `seed` as it was.
 */
void capture_carries(struct import *import, struct buffer *buffer, const void *reference,
		     uint32_t seed);

/* value at `per_mille` of sorted samples, nearest rank. */
uint64_t percentile(const uint64_t *sorted, size_t count, unsigned int per_mille);
void sort_u64(uint64_t *values, size_t count);

#ifndef FARM_HELPERS
#define buffer_open(...) FARM_AT(buffer_open(__VA_ARGS__))
#define buffer_open_for(...) FARM_AT(buffer_open_for(__VA_ARGS__))
#define buffer_view(...) FARM_AT(buffer_view(__VA_ARGS__))
#define buffer_begin(...) FARM_AT(buffer_begin(__VA_ARGS__))
#define buffer_end(...) FARM_AT(buffer_end(__VA_ARGS__))
#define buffer_fill(...) FARM_AT(buffer_fill(__VA_ARGS__))
#define buffer_mismatch(...) FARM_AT(buffer_mismatch(__VA_ARGS__))
#define queue_view(...) FARM_AT(queue_view(__VA_ARGS__))
#define import_open(...) FARM_AT(import_open(__VA_ARGS__))
#define import_stream(...) FARM_AT(import_stream(__VA_ARGS__))
#define import_drop(...) FARM_AT(import_drop(__VA_ARGS__))
#define capture_moving(...) FARM_AT(capture_moving(__VA_ARGS__))
#define capture_still(...) FARM_AT(capture_still(__VA_ARGS__))
#define capture_reference(...) FARM_AT(capture_reference(__VA_ARGS__))
#define capture_carries(...) FARM_AT(capture_carries(__VA_ARGS__))
#endif

#endif
