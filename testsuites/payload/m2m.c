/* SPDX-License-Identifier: MIT */
/* V4L2 memory-to-memory devices: found by role, their formats and events. */
#define FARM_HELPERS
#include "calls.h"
#include "buffer.h"
#include "m2m.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FORMATS_MAX 256u
#define RGB_WIDTH 640u
#define RGB_HEIGHT 480u		/* three bytes a pixel: FRAME_SIZE */

uint32_t param_fourcc(const char *key)
{
	const char *text = param_str(key);

	if (strlen(text) != 4)
		broken("parameter %s=%s is no fourcc", key, text);
	return v4l2_fourcc((uint32_t)text[0], (uint32_t)text[1], (uint32_t)text[2],
			   (uint32_t)text[3]);
}

bool m2m_has_format(const struct v4l2_queue *queue, uint32_t fourcc)
{
	for (uint32_t index = 0; index < FORMATS_MAX; index++) {
		struct v4l2_fmtdesc format = { .type = queue->type, .index = index };

		if (command(queue->fd, VIDIOC_ENUM_FMT, &format))
			return false;
		if (format.pixelformat == fourcc)
			return true;
	}
	return false;
}

static bool within(uint32_t value, uint32_t least, uint32_t most, uint32_t step)
{
	return value >= least && value <= most && (!step || (value - least) % step == 0);
}

bool m2m_has_size(const struct v4l2_queue *queue, uint32_t fourcc, uint32_t width, uint32_t height)
{
	for (uint32_t index = 0; index < FORMATS_MAX; index++) {
		struct v4l2_frmsizeenum size = { .pixel_format = fourcc, .index = index };
		int err = command(queue->fd, VIDIOC_ENUM_FRAMESIZES, &size);

		if (err)
			return err == -ENOTTY;	/* it does not tell: S_FMT will */
		if (size.type == V4L2_FRMSIZE_TYPE_DISCRETE) {
			if (size.discrete.width == width && size.discrete.height == height)
				return true;
			continue;
		}
		return within(width, size.stepwise.min_width, size.stepwise.max_width,
			      size.stepwise.step_width) &&
		       within(height, size.stepwise.min_height, size.stepwise.max_height,
			      size.stepwise.step_height);
	}
	return false;
}

static bool plays(const struct m2m *m2m, enum m2m_role role, uint32_t coded)
{
	if (role == M2M_ENCODER)
		return m2m_has_format(&m2m->capture, coded);
	if (role == M2M_DECODER)
		return m2m_has_format(&m2m->output, coded);
	return true;
}

/* Whether the node behind fd is a memory-to-memory device of that bus_info; sets both queues. */
static bool is_m2m(int fd, const char *bus, struct m2m *m2m)
{
	uint32_t has;

	if (v4l2_capabilities_raw(fd, bus, &has))
		return false;
	m2m->output = m2m->capture = (struct v4l2_queue){ .fd = fd };
	if (has & V4L2_CAP_VIDEO_M2M) {
		m2m->output.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
		m2m->capture.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	} else if (has & V4L2_CAP_VIDEO_M2M_MPLANE) {
		m2m->output.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
		m2m->capture.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
	} else {
		return false;
	}
	return true;
}

struct m2m m2m_open(const char *address, enum m2m_role role, uint32_t coded)
{
	static const char *const names[] = { "memory-to-memory device", "encoder", "decoder" };
	struct m2m m2m;

	if (strncmp(address, "m2m:", 4) || !address[4])
		broken("'%s' is not m2m:BUS_INFO", address);
	for (unsigned int node = 0; node < V4L2_NODES; node++) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/video%u", node);
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			continue;
		if (is_m2m(fd, address + 4, &m2m) && plays(&m2m, role, coded))
			return m2m;
		close(fd);
	}
	fail("no %s%s%.4s at '%s'", names[role], role ? " of format " : "",
	     role ? (const char *)&coded : "", address);
}

void m2m_close(struct m2m *m2m)
{
	v4l2_close(&m2m->output);
	m2m->capture.fd = -1;
}

/* The payload puts a frame into one buffer; a device may want each plane in one of its own. */
static void one_buffer(int err, const char *what)
{
	if (err == -ENOTSUP)
		skip("%s: the device has the planes of a frame in several buffers", what);
	must(err, what);
}

void m2m_take_format(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc)
{
	one_buffer(v4l2_format_raw(queue, width, height, fourcc), "VIDIOC_S_FMT");
}

void m2m_format(struct v4l2_queue *queue, uint32_t width, uint32_t height, uint32_t fourcc)
{
	m2m_take_format(queue, width, height, fourcc);
	if (queue->width != width || queue->height != height || queue->fourcc != fourcc)
		fail("asked for %ux%u %.4s, got %ux%u %.4s", width, height, (const char *)&fourcc,
		     queue->width, queue->height, (const char *)&queue->fourcc);
}

void m2m_current_format(struct v4l2_queue *queue)
{
	one_buffer(v4l2_current_format_raw(queue), "VIDIOC_G_FMT");
}

void m2m_subscribe(struct m2m *m2m, uint32_t type)
{
	struct v4l2_event_subscription subscription = { .type = type };

	must(command(m2m->output.fd, VIDIOC_SUBSCRIBE_EVENT, &subscription),
	     "VIDIOC_SUBSCRIBE_EVENT");
}

void m2m_await_event(struct m2m *m2m, uint32_t type, int timeout_ms)
{
	struct v4l2_event event = { 0 };
	int seen = poll_raw(m2m->output.fd, POLLPRI, timeout_ms);

	must(seen, "poll for an event");
	if (!(seen & POLLPRI))
		fail("event %u did not come within %d ms (poll: %#x)", type, timeout_ms,
		     (unsigned int)seen);
	must(command(m2m->output.fd, VIDIOC_DQEVENT, &event), "VIDIOC_DQEVENT");
	if (event.type != type)
		fail("event %u came, expected %u", event.type, type);
}

void m2m_forget_events(struct m2m *m2m)
{
	struct v4l2_event event;
	int seen;

	while ((seen = poll_raw(m2m->output.fd, POLLPRI, 0)) > 0 && seen & POLLPRI)
		must(command(m2m->output.fd, VIDIOC_DQEVENT, &event), "VIDIOC_DQEVENT");
}

void m2m_request(struct v4l2_queue *queue, uint32_t memory, uint32_t count)
{
	v4l2_request(queue, memory, count);
	if (queue->count < count)
		fail("VIDIOC_REQBUFS granted %u buffers of %u", queue->count, count);
}

/* A decoder's coded buffers are as large as user space asks for. */
static void coded_size(struct v4l2_queue *queue, size_t size)
{
	struct v4l2_format format = { .type = queue->type };

	must(command(queue->fd, VIDIOC_G_FMT, &format), "VIDIOC_G_FMT");
	if (V4L2_TYPE_IS_MULTIPLANAR(queue->type))
		format.fmt.pix_mp.plane_fmt[0].sizeimage = (uint32_t)size;
	else
		format.fmt.pix.sizeimage = (uint32_t)size;
	must(command(queue->fd, VIDIOC_S_FMT, &format), "VIDIOC_S_FMT");
	queue->size = V4L2_TYPE_IS_MULTIPLANAR(queue->type) ?
			      format.fmt.pix_mp.plane_fmt[0].sizeimage :
			      format.fmt.pix.sizeimage;
}

static bool takes_rgb(const struct v4l2_queue *queue)
{
	return m2m_has_format(queue, V4L2_PIX_FMT_RGB24);
}

void m2m_frames(struct m2m *m2m)
{
	if (takes_rgb(&m2m->output))
		m2m_format(&m2m->output, RGB_WIDTH, RGB_HEIGHT, V4L2_PIX_FMT_RGB24);
	else
		coded_size(&m2m->output, FRAME_SIZE);
	if (m2m->output.size != FRAME_SIZE)
		fail("its frames have %zu bytes, asked for %zu", m2m->output.size, FRAME_SIZE);
	if (takes_rgb(&m2m->output) && takes_rgb(&m2m->capture))
		m2m_format(&m2m->capture, RGB_WIDTH, RGB_HEIGHT, V4L2_PIX_FMT_RGB24);
	else
		m2m_current_format(&m2m->capture);
}

void m2m_stream(struct m2m *m2m, bool on)
{
	v4l2_stream(&m2m->output, on);
	v4l2_stream(&m2m->capture, on);
}

struct v4l2_frame m2m_run(struct m2m *m2m, uint32_t index, int from, size_t bytes, int to)
{
	struct v4l2_frame made;
	uint32_t read;

	v4l2_queue_bytes(&m2m->output, index, from, bytes);
	v4l2_queue(&m2m->capture, index, to);
	made = v4l2_dequeue_frame(&m2m->capture, PATIENCE_MS);
	read = v4l2_dequeue(&m2m->output, PATIENCE_MS);
	if (read != index || made.index != index)
		fail("buffers %u and %u came back, expected both of index %u", read, made.index,
		     index);
	return made;
}
