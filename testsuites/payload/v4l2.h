/* SPDX-License-Identifier: MIT */
/* V4L2: devices by bus_info, one queue (capture or output, single- or one-plane multi-planar). */
#ifndef FARM_V4L2_H
#define FARM_V4L2_H

#include <linux/videodev2.h>
#include <stddef.h>
#include <stdint.h>

#define V4L2_NODES 64u		/* /dev/video0 to /dev/video63 are looked at */

struct v4l2_queue {
	int fd;
	uint32_t type;		/* V4L2_BUF_TYPE_… */
	uint32_t memory;	/* V4L2_MEMORY_… of the last v4l2_request() */
	uint32_t count;		/* buffers that it granted */
	uint32_t features;	/* V4L2_BUF_CAP_… of that request; 0 before Linux 4.20 */
	uint32_t width, height, fourcc, stride;
	size_t size;		/* sizeimage of the format */
};

/*
 * Opens "v4l2:<bus_info without platform:>" for capture or output (V4L2_BUF_TYPE_VIDEO_CAPTURE or
 * _OUTPUT; a device that is only multi-planar gets the _MPLANE type): the first /dev/video* with
 * that bus_info and capability. -ENODEV: none.
 */
int v4l2_open_raw(const char *address, uint32_t type, struct v4l2_queue *queue);

/*
 * The V4L2_CAP_… of the node behind fd. -ENODEV: its bus_info, with or without "platform:", is another
 * than bus; NULL: any.
 */
int v4l2_capabilities_raw(int fd, const char *bus, uint32_t *has);

/* As v4l2_open_raw(), but one node by its path; bus as above. A memory-to-memory device does both. */
int v4l2_open_node_raw(const char *path, const char *bus, uint32_t type, struct v4l2_queue *queue);

struct v4l2_queue v4l2_open(const char *address, uint32_t type);
void v4l2_close(struct v4l2_queue *queue);

/* VIDIOC_S_FMT; the driver may adjust: what it chose is in the queue. */
int v4l2_format_raw(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc);
void v4l2_format(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc);

/* VIDIOC_REQBUFS with V4L2_MEMORY_MMAP or _DMABUF; count 0 frees. */
int v4l2_request_raw(struct v4l2_queue *queue, uint32_t memory, uint32_t count);
void v4l2_request(struct v4l2_queue *queue, uint32_t memory, uint32_t count);

/*
 * VIDIOC_CREATE_BUFS, of the memory and size that the queue has, which may be more than a frame's: the
 * first index of `count` more buffers. VIDIOC_REMOVE_BUFS (Linux 6.10; the queue's features say whether it may be used).
 */
int v4l2_create_raw(struct v4l2_queue *queue, uint32_t count);
uint32_t v4l2_create(struct v4l2_queue *queue, uint32_t count);
int v4l2_remove_raw(struct v4l2_queue *queue, uint32_t index, uint32_t count);
void v4l2_remove(struct v4l2_queue *queue, uint32_t index, uint32_t count);

/* VIDIOC_EXPBUF of an MMAP buffer: the dma-buf. */
int v4l2_export_raw(struct v4l2_queue *queue, uint32_t index);
int v4l2_export(struct v4l2_queue *queue, uint32_t index);

/* VIDIOC_PREPARE_BUF and VIDIOC_QBUF; dmabuf is ignored for MMAP; an output buffer is queued full. */
int v4l2_prepare_raw(struct v4l2_queue *queue, uint32_t index, int dmabuf);
void v4l2_prepare(struct v4l2_queue *queue, uint32_t index, int dmabuf);
void v4l2_prepare_errno(struct v4l2_queue *queue, uint32_t index, int dmabuf, int err);
int v4l2_queue_raw(struct v4l2_queue *queue, uint32_t index, int dmabuf);
void v4l2_queue(struct v4l2_queue *queue, uint32_t index, int dmabuf);
void v4l2_queue_errno(struct v4l2_queue *queue, uint32_t index, int dmabuf, int err);

/* VIDIOC_G_FMT: takes over the format that the device has by itself. -ENOTSUP: a frame is in several buffers. */
int v4l2_current_format_raw(struct v4l2_queue *queue);

/* VIDIOC_QBUF of an output buffer of which `bytes` are used, as for coded frames. */
int v4l2_queue_bytes_raw(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes);
void v4l2_queue_bytes(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes);

/* The same with a timestamp, which a memory-to-memory device copies to what it makes of the frame. */
void v4l2_queue_stamped(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes,
			uint64_t stamp_us);

/* What VIDIOC_DQBUF told. */
struct v4l2_frame {
	uint32_t index, bytes, sequence;
	uint32_t flags;		/* V4L2_BUF_FLAG_… */
	uint64_t stamp_us;	/* its timestamp */
};

/* VIDIOC_DQBUF within the time: the buffer; -ETIMEDOUT; a buffer flagged as broken is -EIO. */
int v4l2_dequeue_frame_raw(struct v4l2_queue *queue, int timeout_ms, struct v4l2_frame *frame);
struct v4l2_frame v4l2_dequeue_frame(struct v4l2_queue *queue, int timeout_ms);
int v4l2_dequeue_raw(struct v4l2_queue *queue, int timeout_ms, uint32_t *index, uint32_t *bytes);
uint32_t v4l2_dequeue(struct v4l2_queue *queue, int timeout_ms);

/* VIDIOC_S_PARM: frames a second; the driver takes the nearest that it has, or ignores it. */
void v4l2_rate(struct v4l2_queue *queue, uint32_t frames);

/* Sets a control of the device behind fd; -EINVAL where it has none of that id. */
int v4l2_control_raw(int fd, uint32_t id, int32_t value);

int v4l2_stream_raw(struct v4l2_queue *queue, bool on);
void v4l2_stream(struct v4l2_queue *queue, bool on);

#ifndef FARM_HELPERS
#define v4l2_open(...) FARM_AT(v4l2_open(__VA_ARGS__))
#define v4l2_format(...) FARM_AT(v4l2_format(__VA_ARGS__))
#define v4l2_request(...) FARM_AT(v4l2_request(__VA_ARGS__))
#define v4l2_create(...) FARM_AT(v4l2_create(__VA_ARGS__))
#define v4l2_remove(...) FARM_AT(v4l2_remove(__VA_ARGS__))
#define v4l2_export(...) FARM_AT(v4l2_export(__VA_ARGS__))
#define v4l2_prepare(...) FARM_AT(v4l2_prepare(__VA_ARGS__))
#define v4l2_prepare_errno(...) FARM_AT(v4l2_prepare_errno(__VA_ARGS__))
#define v4l2_queue(...) FARM_AT(v4l2_queue(__VA_ARGS__))
#define v4l2_queue_errno(...) FARM_AT(v4l2_queue_errno(__VA_ARGS__))
#define v4l2_queue_bytes(...) FARM_AT(v4l2_queue_bytes(__VA_ARGS__))
#define v4l2_queue_stamped(...) FARM_AT(v4l2_queue_stamped(__VA_ARGS__))
#define v4l2_dequeue_frame(...) FARM_AT(v4l2_dequeue_frame(__VA_ARGS__))
#define v4l2_dequeue(...) FARM_AT(v4l2_dequeue(__VA_ARGS__))
#define v4l2_stream(...) FARM_AT(v4l2_stream(__VA_ARGS__))
#endif

#endif
