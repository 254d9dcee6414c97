/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define FRAMES 5	/* the loop may need a few to settle */

/* The first input or output whose name starts with `kind`; -1 if there is none. */
static int input_of_kind(int fd, const char *kind)
{
	struct v4l2_input input = { 0 };

	for (; ioctl(fd, VIDIOC_ENUMINPUT, &input) == 0; input.index++)
		if (!strncmp((const char *)input.name, kind, strlen(kind)))
			return (int)input.index;
	return -1;
}

static int output_of_kind(int fd, const char *kind, char name[32])
{
	struct v4l2_output output = { 0 };

	for (; ioctl(fd, VIDIOC_ENUMOUTPUT, &output) == 0; output.index++)
		if (!strncmp((const char *)output.name, kind, strlen(kind))) {
			memcpy(name, output.name, 31);
			name[31] = '\0';
			return (int)output.index;
		}
	return -1;
}

/*
 * vivid's "S-Video 000-0 Is Connected To", set to the output called `output`, or to its default. In Linux
 * 6.1 it is "Loop Video", which connects the chosen input with the chosen output.
 */
static bool connect_loop(int capture, const char *kind, const char *output,
			 struct v4l2_control *connection)
{
	struct v4l2_query_ext_ctrl query = { .id = V4L2_CTRL_FLAG_NEXT_CTRL };

	for (; ioctl(capture, VIDIOC_QUERY_EXT_CTRL, &query) == 0;
	     query.id |= V4L2_CTRL_FLAG_NEXT_CTRL) {
		struct v4l2_control control = { .id = query.id, .value = query.default_value };
		struct v4l2_querymenu entry = { .id = query.id };

		bool any = !strcmp(query.name, "Loop Video");

		if (!any && (strncmp(query.name, kind, strlen(kind)) ||
			     !strstr(query.name, "Is Connected To")))
			continue;
		*connection = control;
		if (any && output)
			connection->value = 1;
		if (any || !output)
			return ioctl(capture, VIDIOC_S_CTRL, connection) == 0;
		for (entry.index = 0; entry.index <= query.maximum; entry.index++) {
			connection->value = (int32_t)entry.index;
			if (ioctl(capture, VIDIOC_QUERYMENU, &entry) == 0 &&
			    strstr((const char *)entry.name, output))
				return ioctl(capture, VIDIOC_S_CTRL, connection) == 0;
		}
	}
	return false;
}

/*
 * Whether the connection was lost, which is then made again. S_CTRL wakes vivid's worker before it
 * takes effect. A worker that runs at once still sees the old value, finds the new one among those
 * to be skipped, and puts the default in its place: update_svid_ctrls_work_handler() in
 * drivers/media/test-drivers/vivid/vivid-core.c, Linux 6.12 to 7.3.
 */
static bool reconnected(int capture, const struct v4l2_control *connection)
{
	struct v4l2_control now = { .id = connection->id };
	struct v4l2_control again = *connection;

	if (ioctl(capture, VIDIOC_G_CTRL, &now) < 0 || now.value == connection->value)
		return false;
	check(ioctl(capture, VIDIOC_S_CTRL, &again) == 0, "VIDIOC_S_CTRL: %s", errname(errno));
	return true;
}

/* S_FMT leaves the rectangles of an earlier, smaller format: then vivid scales what it loops. */
static void use_whole_frame(const struct v4l2_queue *queue)
{
	static const uint32_t targets[] = { V4L2_SEL_TGT_COMPOSE, V4L2_SEL_TGT_CROP };

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		struct v4l2_selection whole = {
			.type = queue->type, .target = targets[i],
			.r = { .width = queue->width, .height = queue->height },
		};

		if (ioctl(queue->fd, VIDIOC_S_SELECTION, &whole) < 0)
			fail("VIDIOC_S_SELECTION %u: %s", targets[i], errname(errno));
		check(whole.r.width == queue->width && whole.r.height == queue->height,
		      "rectangle %u became %ux%u, asked for %ux%u", targets[i], whole.r.width,
		      whole.r.height, queue->width, queue->height);
	}
}

struct loop {
	struct v4l2_queue output, capture;
	struct v4l2_control connection;
	void *frame;
};

static struct loop open_loop(const char *address)
{
	struct loop loop = {
		.output = v4l2_open(address, V4L2_BUF_TYPE_VIDEO_OUTPUT),
		.capture = v4l2_open(address, V4L2_BUF_TYPE_VIDEO_CAPTURE),
	};
	char name[32] = "";
	int input = input_of_kind(loop.capture.fd, "S-Video");
	int output = output_of_kind(loop.output.fd, "S-Video", name);

	if (input < 0 || output < 0 || ioctl(loop.capture.fd, VIDIOC_S_INPUT, &input) < 0 ||
	    ioctl(loop.output.fd, VIDIOC_S_OUTPUT, &output) < 0 ||
	    !connect_loop(loop.capture.fd, "S-Video", name, &loop.connection))
		skip("%s has no S-Video loop from its output to its input", address);
	v4l2_format(&loop.output, 720, 576, FRAME_FOURCC);
	v4l2_format(&loop.capture, loop.output.width, loop.output.height, FRAME_FOURCC);
	use_whole_frame(&loop.output);
	use_whole_frame(&loop.capture);
	check(loop.output.size == loop.capture.size && loop.output.stride == loop.capture.stride,
	      "output frames have %zu bytes, captured ones %zu", loop.output.size,
	      loop.capture.size);
	capture_still(&loop.capture);
	v4l2_request(&loop.output, V4L2_MEMORY_DMABUF, 1);
	v4l2_request(&loop.capture, V4L2_MEMORY_MMAP, 2);
	loop.frame = queue_view(&loop.capture, loop.capture.size);
	return loop;
}

static void close_loop(struct loop *loop)
{
	int webcam = 0;

	munmap(loop->frame, loop->capture.size);
	v4l2_request(&loop->output, V4L2_MEMORY_DMABUF, 0);
	v4l2_request(&loop->capture, V4L2_MEMORY_MMAP, 0);
	connect_loop(loop->capture.fd, "S-Video", NULL, &loop->connection);
	check(ioctl(loop->capture.fd, VIDIOC_S_INPUT, &webcam) == 0, "VIDIOC_S_INPUT 0: %s",
	      errname(errno));
	v4l2_close(&loop->output);
	v4l2_close(&loop->capture);
}

CASE(cpu_read, "A video output that reads with the CPU shows what the exporter wrote",
     .timeout_ms = 10000, .params = "importer= exporter=udmabuf seed=19")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct loop loop = open_loop(param_str("importer"));
	struct buffer buffer = buffer_open(param_str("exporter"), loop.output.size);
	int64_t wrong = 0;
	int err, reconnects = 0;

	buffer_fill(&buffer, seed);
	window_begin();
	err = v4l2_queue_raw(&loop.output, 0, buffer.fd);
	window_end("import");
	check(!err, "%s refused the buffer: %s", param_str("importer"), errname(err));

	/* vivid keeps its last output buffer, so it is there for every frame that is captured. */
	window_begin();
	v4l2_stream(&loop.output, true);
	v4l2_queue(&loop.capture, 0, -1);
	v4l2_stream(&loop.capture, true);
	for (int left = FRAMES; left; left--) {
		uint32_t index = v4l2_dequeue(&loop.capture, PATIENCE_MS);

		wrong = pattern_mismatch(loop.frame, loop.capture.size, seed);
		if (wrong < 0)
			break;
		if (reconnected(loop.capture.fd, &loop.connection)) {
			left = FRAMES + 1;
			reconnects++;
		}
		v4l2_queue(&loop.capture, index, -1);
	}
	v4l2_stream(&loop.capture, false);
	v4l2_stream(&loop.output, false);
	window_end("frames");
	info("reconnects", "%d", reconnects);
	check(wrong < 0, "byte %lld of the frame that came back is not what the exporter wrote",
	      (long long)wrong);

	close_loop(&loop);
	buffer_close(&buffer);
}
