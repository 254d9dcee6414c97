/* SPDX-License-Identifier: MIT */
/* V4L2: devices by bus_info, one queue of them. */
#define FARM_HELPERS
#include "calls.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLATFORM "platform:"	/* what QUERYCAP puts before the name of a device without a bus */

static bool is_output(uint32_t type)
{
	return type == V4L2_BUF_TYPE_VIDEO_OUTPUT || type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
}

static bool is_planar(uint32_t type)
{
	return type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE ||
	       type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
}

/* --- opening --------------------------------------------------------------------------------------- */

/* The buffer type by which this node does capture or output, 0 if it does not. */
static uint32_t type_of(uint32_t caps, bool output)
{
	if (output) {
		if (caps & (V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_M2M))
			return V4L2_BUF_TYPE_VIDEO_OUTPUT;
		if (caps & (V4L2_CAP_VIDEO_OUTPUT_MPLANE | V4L2_CAP_VIDEO_M2M_MPLANE))
			return V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
		return 0;
	}
	if (caps & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_M2M))
		return V4L2_BUF_TYPE_VIDEO_CAPTURE;
	if (caps & (V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_VIDEO_M2M_MPLANE))
		return V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
	return 0;
}

int v4l2_capabilities_raw(int fd, const char *bus, uint32_t *has)
{
	struct v4l2_capability caps = { 0 };
	const char *name = (const char *)caps.bus_info;
	int err = command(fd, VIDIOC_QUERYCAP, &caps);

	if (err)
		return err;
	*has = caps.capabilities & V4L2_CAP_DEVICE_CAPS ? caps.device_caps : caps.capabilities;
	if (!bus || !strcmp(name, bus))
		return 0;
	if (strncmp(name, PLATFORM, strlen(PLATFORM)) || strcmp(name + strlen(PLATFORM), bus))
		return -ENODEV;
	return 0;
}

int v4l2_open_node_raw(const char *path, const char *bus, uint32_t type, struct v4l2_queue *queue)
{
	uint32_t has = 0;
	int err = 0;

	*queue = (struct v4l2_queue){ .fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK) };
	if (queue->fd < 0)
		err = -errno;
	if (!err)
		err = v4l2_capabilities_raw(queue->fd, bus, &has);
	queue->type = type_of(has, is_output(type));
	if (!err && !queue->type)
		err = -ENODEV;
	if (err) {
		v4l2_close(queue);
		queue->type = type;
	}
	return err;
}

int v4l2_open_raw(const char *address, uint32_t type, struct v4l2_queue *queue)
{
	*queue = (struct v4l2_queue){ .fd = -1, .type = type };
	if (strncmp(address, "v4l2:", 5) || !address[5])
		return -EINVAL;
	for (unsigned int node = 0; node < V4L2_NODES; node++) {
		char path[32];

		snprintf(path, sizeof(path), "/dev/video%u", node);
		if (!v4l2_open_node_raw(path, address + 5, type, queue))
			return 0;
	}
	return -ENODEV;
}

struct v4l2_queue v4l2_open(const char *address, uint32_t type)
{
	struct v4l2_queue queue;
	int err = v4l2_open_raw(address, type, &queue);

	if (err == -EINVAL)
		broken("'%s' is not v4l2:BUS_INFO", address);
	if (err)
		fail("no V4L2 %s device at '%s'", is_output(type) ? "output" : "capture", address);
	return queue;
}

void v4l2_close(struct v4l2_queue *queue)
{
	if (queue->fd >= 0)
		close(queue->fd);
	queue->fd = -1;
}

/* --- format and buffers ---------------------------------------------------------------------------- */

/* What the driver says of its format. */
static int adopt(struct v4l2_queue *queue, const struct v4l2_format *format)
{
	if (is_planar(queue->type)) {
		const struct v4l2_pix_format_mplane *got = &format->fmt.pix_mp;

		if (got->num_planes != 1)
			return -ENOTSUP;
		queue->width = got->width;
		queue->height = got->height;
		queue->fourcc = got->pixelformat;
		queue->stride = got->plane_fmt[0].bytesperline;
		queue->size = got->plane_fmt[0].sizeimage;
	} else {
		queue->width = format->fmt.pix.width;
		queue->height = format->fmt.pix.height;
		queue->fourcc = format->fmt.pix.pixelformat;
		queue->stride = format->fmt.pix.bytesperline;
		queue->size = format->fmt.pix.sizeimage;
	}
	return 0;
}

int v4l2_current_format_raw(struct v4l2_queue *queue)
{
	struct v4l2_format format = { .type = queue->type };
	int err = command(queue->fd, VIDIOC_G_FMT, &format);

	return err ? err : adopt(queue, &format);
}

int v4l2_format_raw(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc)
{
	struct v4l2_format format = { .type = queue->type };
	int err;

	if (is_planar(queue->type)) {
		format.fmt.pix_mp.width = width;
		format.fmt.pix_mp.height = height;
		format.fmt.pix_mp.pixelformat = fourcc;
		format.fmt.pix_mp.num_planes = 1;
	} else {
		format.fmt.pix.width = width;
		format.fmt.pix.height = height;
		format.fmt.pix.pixelformat = fourcc;
	}
	err = command(queue->fd, VIDIOC_S_FMT, &format);
	return err ? err : adopt(queue, &format);
}

void v4l2_format(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc)
{
	must(v4l2_format_raw(queue, width, height, fourcc), "VIDIOC_S_FMT");
}

int v4l2_request_raw(struct v4l2_queue *queue, uint32_t memory, uint32_t count)
{
	struct v4l2_requestbuffers request = {
		.type = queue->type, .memory = memory, .count = count,
	};
	int err = command(queue->fd, VIDIOC_REQBUFS, &request);

	if (err)
		return err;
	queue->memory = memory;
	queue->count = request.count;
	queue->features = request.capabilities;
	return 0;
}

void v4l2_request(struct v4l2_queue *queue, uint32_t memory, uint32_t count)
{
	must(v4l2_request_raw(queue, memory, count), "VIDIOC_REQBUFS");
}

int v4l2_create_raw(struct v4l2_queue *queue, uint32_t count)
{
	struct v4l2_create_buffers create = {
		.memory = queue->memory, .count = count, .format = { .type = queue->type },
	};
	int err = command(queue->fd, VIDIOC_G_FMT, &create.format);

	if (is_planar(queue->type))
		create.format.fmt.pix_mp.plane_fmt[0].sizeimage = (uint32_t)queue->size;
	else
		create.format.fmt.pix.sizeimage = (uint32_t)queue->size;
	if (!err)
		err = command(queue->fd, VIDIOC_CREATE_BUFS, &create);
	if (!err && create.count != count)
		err = -ENOMEM;
	return err ? err : (int)create.index;
}

uint32_t v4l2_create(struct v4l2_queue *queue, uint32_t count)
{
	int index = v4l2_create_raw(queue, count);

	must(index, "VIDIOC_CREATE_BUFS");
	return (uint32_t)index;
}

int v4l2_remove_raw(struct v4l2_queue *queue, uint32_t index, uint32_t count)
{
	struct v4l2_remove_buffers remove = {
		.type = queue->type, .index = index, .count = count,
	};

	return command(queue->fd, VIDIOC_REMOVE_BUFS, &remove);
}

void v4l2_remove(struct v4l2_queue *queue, uint32_t index, uint32_t count)
{
	must(v4l2_remove_raw(queue, index, count), "VIDIOC_REMOVE_BUFS");
}

int v4l2_export_raw(struct v4l2_queue *queue, uint32_t index)
{
	struct v4l2_exportbuffer data = {
		.type = queue->type, .index = index, .flags = O_RDWR | O_CLOEXEC,
	};
	int err = command(queue->fd, VIDIOC_EXPBUF, &data);

	return err ? err : data.fd;
}

int v4l2_export(struct v4l2_queue *queue, uint32_t index)
{
	int dmabuf = v4l2_export_raw(queue, index);

	must(dmabuf, "VIDIOC_EXPBUF");
	return dmabuf;
}

/* --- queueing -------------------------------------------------------------------------------------- */

/* Describes buffer `index`; the plane must live as long as the buffer. */
static struct v4l2_buffer describe(const struct v4l2_queue *queue, uint32_t index, int dmabuf,
				   size_t bytes, struct v4l2_plane *plane)
{
	struct v4l2_buffer buffer = {
		.type = queue->type, .memory = queue->memory, .index = index,
		.field = V4L2_FIELD_NONE,
	};
	uint32_t used = is_output(queue->type) ? (uint32_t)bytes : 0;
	bool shared = queue->memory == V4L2_MEMORY_DMABUF;

	*plane = (struct v4l2_plane){ 0 };
	if (is_planar(queue->type)) {
		plane->bytesused = used;
		if (shared)
			plane->m.fd = dmabuf;
		/* Of several planes vb2 holds what is used against this; without it, it takes the dma-buf's size. */
		if (shared && used)
			plane->length = used > queue->size ? used : (uint32_t)queue->size;
		buffer.m.planes = plane;
		buffer.length = 1;
	} else {
		buffer.bytesused = used;
		if (shared)
			buffer.m.fd = dmabuf;
	}
	return buffer;
}

int v4l2_prepare_raw(struct v4l2_queue *queue, uint32_t index, int dmabuf)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = describe(queue, index, dmabuf, queue->size, &plane);

	return command(queue->fd, VIDIOC_PREPARE_BUF, &buffer);
}

void v4l2_prepare(struct v4l2_queue *queue, uint32_t index, int dmabuf)
{
	must(v4l2_prepare_raw(queue, index, dmabuf), "VIDIOC_PREPARE_BUF");
}

void v4l2_prepare_errno(struct v4l2_queue *queue, uint32_t index, int dmabuf, int err)
{
	must_refuse(v4l2_prepare_raw(queue, index, dmabuf), err, "VIDIOC_PREPARE_BUF");
}

static int queue_stamped(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes,
			 uint64_t stamp_us)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = describe(queue, index, dmabuf, bytes, &plane);

	buffer.timestamp.tv_sec = (time_t)(stamp_us / 1000000);
	buffer.timestamp.tv_usec = (suseconds_t)(stamp_us % 1000000);
	return command(queue->fd, VIDIOC_QBUF, &buffer);
}

int v4l2_queue_bytes_raw(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes)
{
	return queue_stamped(queue, index, dmabuf, bytes, 0);
}

void v4l2_queue_stamped(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes,
			uint64_t stamp_us)
{
	must(queue_stamped(queue, index, dmabuf, bytes, stamp_us), "VIDIOC_QBUF");
}

void v4l2_queue_bytes(struct v4l2_queue *queue, uint32_t index, int dmabuf, size_t bytes)
{
	must(v4l2_queue_bytes_raw(queue, index, dmabuf, bytes), "VIDIOC_QBUF");
}

int v4l2_queue_raw(struct v4l2_queue *queue, uint32_t index, int dmabuf)
{
	return v4l2_queue_bytes_raw(queue, index, dmabuf, queue->size);
}

void v4l2_queue(struct v4l2_queue *queue, uint32_t index, int dmabuf)
{
	must(v4l2_queue_raw(queue, index, dmabuf), "VIDIOC_QBUF");
}

void v4l2_queue_errno(struct v4l2_queue *queue, uint32_t index, int dmabuf, int err)
{
	must_refuse(v4l2_queue_raw(queue, index, dmabuf), err, "VIDIOC_QBUF");
}

int v4l2_dequeue_frame_raw(struct v4l2_queue *queue, int timeout_ms, struct v4l2_frame *frame)
{
	short event = is_output(queue->type) ? POLLOUT : POLLIN;
	int ready = poll_raw(queue->fd, event, timeout_ms), err;
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = describe(queue, 0, -1, 0, &plane);

	if (ready <= 0)
		return ready ? ready : -ETIMEDOUT;
	err = command(queue->fd, VIDIOC_DQBUF, &buffer);
	if (err)
		return err;
	*frame = (struct v4l2_frame){
		.index = buffer.index,
		.bytes = is_planar(queue->type) ? plane.bytesused : buffer.bytesused,
		.sequence = buffer.sequence,
		.flags = buffer.flags,
		.stamp_us = (uint64_t)buffer.timestamp.tv_sec * 1000000 +
			    (uint64_t)buffer.timestamp.tv_usec,
	};
	return buffer.flags & V4L2_BUF_FLAG_ERROR ? -EIO : 0;
}

struct v4l2_frame v4l2_dequeue_frame(struct v4l2_queue *queue, int timeout_ms)
{
	struct v4l2_frame frame = { 0 };

	must(v4l2_dequeue_frame_raw(queue, timeout_ms, &frame), "VIDIOC_DQBUF");
	return frame;
}

int v4l2_dequeue_raw(struct v4l2_queue *queue, int timeout_ms, uint32_t *index, uint32_t *bytes)
{
	struct v4l2_frame frame = { 0 };
	int err = v4l2_dequeue_frame_raw(queue, timeout_ms, &frame);

	*index = frame.index;
	if (bytes)
		*bytes = frame.bytes;
	return err;
}

uint32_t v4l2_dequeue(struct v4l2_queue *queue, int timeout_ms)
{
	uint32_t index;

	must(v4l2_dequeue_raw(queue, timeout_ms, &index, NULL), "VIDIOC_DQBUF");
	return index;
}

void v4l2_rate(struct v4l2_queue *queue, uint32_t frames)
{
	struct v4l2_streamparm rate = { .type = queue->type };

	if (is_output(queue->type)) {
		rate.parm.output.timeperframe.numerator = 1;
		rate.parm.output.timeperframe.denominator = frames;
	} else {
		rate.parm.capture.timeperframe.numerator = 1;
		rate.parm.capture.timeperframe.denominator = frames;
	}
	command(queue->fd, VIDIOC_S_PARM, &rate);
}

int v4l2_control_raw(int fd, uint32_t id, int32_t value)
{
	struct v4l2_control control = { .id = id, .value = value };

	return command(fd, VIDIOC_S_CTRL, &control);
}

int v4l2_stream_raw(struct v4l2_queue *queue, bool on)
{
	int type = (int)queue->type;

	return command(queue->fd, on ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, &type);
}

void v4l2_stream(struct v4l2_queue *queue, bool on)
{
	must(v4l2_stream_raw(queue, on), on ? "VIDIOC_STREAMON" : "VIDIOC_STREAMOFF");
}
