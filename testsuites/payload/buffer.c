/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "buffer.h"
#include "m2m.h"
#include "refdevice.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LIST_LIMIT_PAGES 1024u	/* udmabuf's list_limit where nobody changed it */
#define VIVID_NO_TEXT 2		/* entries of its menus (drivers/media/test-drivers/vivid/vivid-ctrls.c, Linux 6.12) */
#define VIVID_NO_MOVEMENT 3
#define VIVID_RIGHT_FAST 6
#define CAPTURE_BUFFERS 2u	/* vivid captures into one, and asks for no more */

bool address_is(const char *address, const char *kind)
{
	size_t length = strlen(kind);

	return !strncmp(address, kind, length) &&
	       (address[length] == ':' || address[length] == '\0');
}

/*
 * The first input, which is vivid's webcam; a device without inputs says ENOTTY. One with timings, such as
 * HDMI, captures what its source sends.
 */
static void choose_input(const char *address, int fd)
{
	struct v4l2_input input = { .index = 0 };
	struct v4l2_dv_timings timings = { 0 };
	int first = 0;

	if (ioctl(fd, VIDIOC_S_INPUT, &first) < 0 || ioctl(fd, VIDIOC_ENUMINPUT, &input) < 0)
		return;
	if (input.status & (V4L2_IN_ST_NO_POWER | V4L2_IN_ST_NO_SIGNAL | V4L2_IN_ST_NO_SYNC))
		skip("%s: input '%.32s' has no signal (status %#x)", address, input.name,
		     input.status);
	if (!ioctl(fd, VIDIOC_QUERY_DV_TIMINGS, &timings))
		ioctl(fd, VIDIOC_S_DV_TIMINGS, &timings);
	else if (errno == ENOLINK || errno == ENOLCK)
		skip("%s: input '%.32s' has no signal: %s", address, input.name, errname(errno));
}

static uint32_t frame_fourcc(const struct v4l2_queue *queue)
{
	struct v4l2_fmtdesc first = { .type = queue->type };

	if (m2m_has_format(queue, FRAME_FOURCC) || ioctl(queue->fd, VIDIOC_ENUM_FMT, &first) < 0)
		return FRAME_FOURCC;
	return first.pixelformat;
}

/* Opens a device's queue of one direction, with frames that it has. -ENODEV: no such queue. */
static int frame_queue(const char *address, uint32_t type, struct v4l2_queue *queue)
{
	int err = v4l2_open_raw(address, type, queue);

	if (err < 0)
		return err;
	if (!V4L2_TYPE_IS_OUTPUT(type))
		choose_input(address, queue->fd);
	if (v4l2_format_raw(queue, FRAME_WIDTH, FRAME_HEIGHT, frame_fourcc(queue)) == -EBUSY)
		skip("%s has one queue, which cannot export and import at once", address);
	m2m_current_format(queue);
	if (!queue->size)
		fail("%s: frames of %ux%u %.4s have no bytes", address, queue->width, queue->height,
		     (const char *)&queue->fourcc);
	return 0;
}

/* The queue of one direction, or of the other where the device has only that. */
static struct v4l2_queue video_queue(const char *address, uint32_t wanted, uint32_t other)
{
	struct v4l2_queue queue;
	int err = frame_queue(address, wanted, &queue);

	if (err == -ENODEV)
		err = frame_queue(address, other, &queue);
	if (err < 0)
		fail("%s: no such video device: %s", address, errname(err));
	return queue;
}

/* What has frames in a queue: a video device. */
static bool is_video(const char *address)
{
	return address_is(address, "v4l2") || address_is(address, "m2m");
}

/* What a device exports from: frames that it reads, and of a camera those that it writes. */
static struct v4l2_queue export_queue(const char *address)
{
	struct m2m m2m;

	if (!address_is(address, "m2m"))
		return video_queue(address, V4L2_BUF_TYPE_VIDEO_OUTPUT,
				   V4L2_BUF_TYPE_VIDEO_CAPTURE);
	m2m = m2m_open(address, M2M_ANY, 0);
	m2m_frames(&m2m);
	return m2m.output;
}

/* What it imports into: frames that it writes, and of a display those that it reads. */
static struct v4l2_queue import_queue(const char *address)
{
	struct m2m m2m;

	if (!address_is(address, "m2m"))
		return video_queue(address, V4L2_BUF_TYPE_VIDEO_CAPTURE,
				   V4L2_BUF_TYPE_VIDEO_OUTPUT);
	m2m = m2m_open(address, M2M_ANY, 0);
	m2m_current_format(&m2m.capture);
	return m2m.capture;
}

/* A buffer as large as the device's frames, or of so many bytes if that is more. */
static void open_video(struct buffer *buffer, size_t least)
{
	struct v4l2_queue *queue = &buffer->queue;
	size_t frame;

	*queue = export_queue(buffer->address);
	frame = queue->size;
	if (least > frame) {
		queue->memory = V4L2_MEMORY_MMAP;
		queue->size = least;
	}
	if (least <= frame || v4l2_create_raw(queue, 1) < 0) {
		queue->size = frame;
		v4l2_request(queue, V4L2_MEMORY_MMAP, 1);
	}
	buffer->device = queue->fd;
	buffer->size = queue->size;
	buffer->fd = v4l2_export(queue, 0);
}

static size_t in_pages(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page;
}

struct buffer buffer_open_for(const char *address, size_t frame)
{
	struct buffer buffer = { .address = address, .device = -1, .fd = -1 };

	if (!is_video(address))
		return buffer_open(address, frame);
	open_video(&buffer, frame);
	buffer.size = in_pages(buffer.size);
	return buffer;
}

struct buffer buffer_open(const char *address, size_t size)
{
	struct buffer buffer = { .address = address, .device = -1, .fd = -1 };

	size = in_pages(size);
	buffer.queue.fd = -1;
	if (address_is(address, "drm")) {
		struct dumb dumb;

		buffer.device = drm_open(address);
		dumb = dumb_create(buffer.device, size);
		buffer.handle = dumb.handle;
		buffer.size = dumb.size;
		buffer.fd = prime_export(buffer.device, dumb.handle);
	} else if (is_video(address)) {
		open_video(&buffer, 0);
	} else if (address_is(address, "heap")) {
		buffer.size = size;
		buffer.fd = heap_alloc(address + strlen("heap:"), size);
	} else if (!strcmp(address, "udmabuf:huge")) {
		buffer.size = size;
		buffer.fd = udmabuf_huge(size);
	} else if (address_is(address, "udmabuf")) {
		buffer.size = size;
		buffer.fd = size <= in_pages(1) * LIST_LIMIT_PAGES ? udmabuf_scattered(size)
								   : udmabuf_create(size);
	} else {
		broken("no exporter is known by the address '%s'", address);
	}
	buffer.size = in_pages(buffer.size);
	return buffer;
}

void buffer_close(struct buffer *buffer)
{
	if (buffer->fd >= 0)
		close(buffer->fd);
	buffer->fd = -1;
	if (buffer->view)
		munmap(buffer->view, buffer->size);
	buffer->view = NULL;
	if (is_video(buffer->address)) {
		v4l2_close(&buffer->queue);
	} else if (buffer->device >= 0) {
		gem_close(buffer->device, buffer->handle);
		drm_close(buffer->device);
	}
	buffer->device = -1;
}

void *queue_view(struct v4l2_queue *queue, size_t size)
{
	bool planes = V4L2_TYPE_IS_MULTIPLANAR(queue->type);
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer query = {
		.type = queue->type, .memory = V4L2_MEMORY_MMAP, .index = 0,
	};
	uint32_t offset;
	void *map;

	if (planes) {
		query.m.planes = &plane;
		query.length = 1;
	}
	if (ioctl(queue->fd, VIDIOC_QUERYBUF, &query) < 0)
		fail("VIDIOC_QUERYBUF: %s", errname(errno));
	offset = planes ? plane.m.mem_offset : query.m.offset;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, queue->fd, offset);
	if (map == MAP_FAILED)
		fail("mmap of the V4L2 buffer: %s", errname(errno));
	return map;
}

void *buffer_view(struct buffer *buffer)
{
	if (buffer->view)
		return buffer->view;
	if (address_is(buffer->address, "drm"))
		buffer->view = dumb_map(buffer->device, buffer->handle, buffer->size);
	else if (is_video(buffer->address))
		buffer->view = queue_view(&buffer->queue, buffer->size);
	else
		buffer->view = dmabuf_map(buffer->fd, buffer->size, PROT_READ | PROT_WRITE);
	return buffer->view;
}

/* An exporter whose view is the dma-buf's own mapping is asked to keep it coherent. */
static bool view_needs_sync(const struct buffer *buffer)
{
	return !address_is(buffer->address, "drm") && !is_video(buffer->address);
}

void *buffer_begin(struct buffer *buffer, uint64_t access)
{
	void *view = buffer_view(buffer);

	if (view_needs_sync(buffer))
		dmabuf_sync(buffer->fd, DMA_BUF_SYNC_START | access);
	return view;
}

void buffer_end(struct buffer *buffer, uint64_t access)
{
	if (view_needs_sync(buffer))
		dmabuf_sync(buffer->fd, DMA_BUF_SYNC_END | access);
}

void buffer_fill(struct buffer *buffer, uint32_t seed)
{
	pattern_fill(buffer_begin(buffer, DMA_BUF_SYNC_WRITE), buffer->size, seed);
	buffer_end(buffer, DMA_BUF_SYNC_WRITE);
}

int64_t buffer_mismatch(struct buffer *buffer, uint32_t seed)
{
	int64_t at = pattern_mismatch(buffer_begin(buffer, DMA_BUF_SYNC_READ), buffer->size, seed);

	buffer_end(buffer, DMA_BUF_SYNC_READ);
	return at;
}

struct import import_open(const char *address)
{
	struct import import = { .address = address, .device = -1 };

	import.queue.fd = -1;
	if (address_is(address, "drm")) {
		import.device = drm_open(address);
	} else if (is_video(address)) {
		import.queue = import_queue(address);
		v4l2_request(&import.queue, V4L2_MEMORY_DMABUF, CAPTURE_BUFFERS);
	} else if (address_is(address, "refdev")) {
		import.device = refdev_open(address);
	} else {
		broken("no importer is known by the address '%s'", address);
	}
	return import;
}

size_t import_size(const struct import *import, size_t size)
{
	return import->queue.size > size ? import->queue.size : size;
}

bool import_captures(const struct import *import)
{
	return address_is(import->address, "v4l2") && !V4L2_TYPE_IS_OUTPUT(import->queue.type);
}

int import_try(struct import *import, int dmabuf)
{
	int err;

	if (address_is(import->address, "refdev")) {
		err = refdev_attach_raw(import->device, dmabuf, REFDEV_CACHED);
		import->handle = err < 0 ? 0 : (uint32_t)err;
	} else if (import->device >= 0) {
		err = prime_import_raw(import->device, dmabuf, &import->handle);
	} else {
		err = v4l2_queue_raw(&import->queue, 0, dmabuf);
	}
	import->error = err < 0 ? -err : 0;
	return err < 0 ? err : 0;
}

void import_drop(struct import *import)
{
	if (address_is(import->address, "refdev")) {
		refdev_detach(import->device, import->handle);
		import->handle = 0;
	} else if (import->device >= 0) {
		gem_close(import->device, import->handle);
		import->handle = 0;
	} else {
		v4l2_request(&import->queue, V4L2_MEMORY_DMABUF, 0);
		v4l2_request(&import->queue, V4L2_MEMORY_DMABUF, CAPTURE_BUFFERS);
	}
}

void import_close(struct import *import)
{
	if (address_is(import->address, "drm"))
		drm_close(import->device);
	else if (import->device >= 0)
		close(import->device);
	else
		v4l2_close(&import->queue);
	import->device = -1;
}

void import_stream(struct import *import, int next)
{
	bool output = V4L2_TYPE_IS_OUTPUT(import->queue.type);
	uint32_t index = 0;
	int err = 0;

	if (output && next >= 0)
		v4l2_queue(&import->queue, 1, next);
	v4l2_stream(&import->queue, true);
	if (!output || next >= 0)
		err = v4l2_dequeue_raw(&import->queue, PATIENCE_MS, &index, NULL);
	if (err < 0)
		fail("no frame of the imported buffer: %s", errname(err));
	v4l2_stream(&import->queue, false);
}

static uint32_t control_named(int fd, const char *name)
{
	struct v4l2_query_ext_ctrl query = { .id = V4L2_CTRL_FLAG_NEXT_CTRL };

	while (ioctl(fd, VIDIOC_QUERY_EXT_CTRL, &query) == 0) {
		if (!strcmp(query.name, name))
			return query.id;
		query.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
	}
	return 0;
}

/* A device without such a control is left as it is. */
static void set_named(int fd, const char *name, int32_t value)
{
	struct v4l2_control control = { .id = control_named(fd, name), .value = value };

	if (control.id && ioctl(fd, VIDIOC_S_CTRL, &control) < 0)
		fail("VIDIOC_S_CTRL '%s': %s", name, errname(errno));
}

/* vivid's text holds time and sequence. */
static void capture_as(struct v4l2_queue *capture, int32_t movement)
{
	set_named(capture->fd, "OSD Text Mode", VIVID_NO_TEXT);
	set_named(capture->fd, "Horizontal Movement", movement);
}

void capture_moving(struct v4l2_queue *capture)
{
	capture_as(capture, VIVID_RIGHT_FAST);
}

void capture_still(struct v4l2_queue *capture)
{
	capture_as(capture, VIVID_NO_MOVEMENT);
	/*
	 * The first frame comes at once, and only the first is taken. A short wait for the next one
	 * has its price: vivid_thread_vid_cap() may compute a negative one on a loaded machine, and
	 * schedule_timeout() complains.
	 */
	v4l2_rate(capture, 1);
}

void capture_reference(struct v4l2_queue *capture, void *frame)
{
	uint32_t memory = capture->memory, count = capture->count, index = 0, bytes = 0;
	void *map;
	int err;

	v4l2_request(capture, memory, 0);
	v4l2_request(capture, V4L2_MEMORY_MMAP, CAPTURE_BUFFERS);
	map = queue_view(capture, capture->size);
	v4l2_queue(capture, 0, -1);
	v4l2_stream(capture, true);
	err = v4l2_dequeue_raw(capture, PATIENCE_MS, &index, &bytes);
	if (err < 0)
		fail("no frame into the device's own buffer: %s", errname(err));
	if (index || bytes != capture->size)
		fail("own buffer %u holds %u bytes, expected buffer 0 with %zu", index, bytes,
		     capture->size);
	memcpy(frame, map, capture->size);
	v4l2_stream(capture, false);
	munmap(map, capture->size);
	v4l2_request(capture, V4L2_MEMORY_MMAP, 0);
	v4l2_request(capture, memory, count);
}

void capture_carries(struct import *import, struct buffer *buffer, const void *reference,
		     uint32_t seed)
{
	size_t frame = import->queue.size, at = 0;
	uint32_t index = 0, bytes = 0;
	uint8_t *expected = malloc(buffer->size);
	const uint8_t *seen;
	int err;

	if (!expected)
		broken("no memory for a frame to compare with");
	pattern_fill(expected, buffer->size, seed);
	if (!memcmp(expected, reference, frame))
		broken("the reference frame equals the pattern, so equality proves nothing");
	memcpy(expected, reference, frame);

	v4l2_stream(&import->queue, true);
	err = v4l2_dequeue_raw(&import->queue, PATIENCE_MS, &index, &bytes);
	if (err < 0)
		fail("no frame into the imported buffer: %s", errname(err));
	if (bytes != frame)
		fail("the frame has %u bytes, expected %zu", bytes, frame);
	v4l2_stream(&import->queue, false);

	seen = buffer_begin(buffer, DMA_BUF_SYNC_READ);
	while (at < buffer->size && seen[at] == expected[at])
		at++;
	if (at < buffer->size)
		fail("byte %zu of %zu is 0x%02x in the exporter's view, expected 0x%02x (%s)", at,
		     buffer->size, seen[at], expected[at],
		     at < frame ? "the device's frame" : "behind the frame, as it was before");
	buffer_end(buffer, DMA_BUF_SYNC_READ);
	free(expected);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

void sort_u64(uint64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare_u64);
}

uint64_t percentile(const uint64_t *sorted, size_t count, unsigned int per_mille)
{
	size_t rank = (count * per_mille + 999) / 1000;

	return sorted[rank ? rank - 1 : 0];
}
