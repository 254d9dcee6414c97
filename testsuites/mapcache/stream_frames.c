/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "pool.h"
#include "timing.h"

#include <string.h>
#include <unistd.h>

#define RATE 50
#define FRAMES_MAX 256u
#define TIMED_LEAST 60u		/* fewer frames say nothing of a median */

enum order { FIXED, ROTATING, DUPLICATED };

static enum order order(void)
{
	if (param_is("order", "fixed"))
		return FIXED;
	if (param_is("order", "rotating"))
		return ROTATING;
	if (param_is("order", "duplicated"))
		return DUPLICATED;
	broken("order is '%s', expected fixed, rotating or duplicated", param_str("order"));
}

struct stream {
	enum order order;
	struct v4l2_queue *queue;
	int held[POOL_MAX + 1];		/* the dma-buf that each index has */
	uint32_t spare;			/* rotating: the index that has none */
};

/* Takes a frame and queues its buffer again, in the stream's order: the ns that the latter took. */
static uint64_t next_frame(struct stream *stream)
{
	uint32_t index = v4l2_dequeue(stream->queue, PATIENCE_MS), to = index;
	int fd = stream->held[index], again = fd;
	uint64_t begin, spent;

	if (stream->order == ROTATING) {
		to = stream->spare;
		stream->spare = index;
	} else if (stream->order == DUPLICATED) {
		again = dup(fd);
		if (again < 0)
			broken("dup: %s", errname(errno));
	}
	begin = now_ns();
	v4l2_queue(stream->queue, to, again);
	spent = now_ns() - begin;
	stream->held[to] = fd;
	if (again != fd)
		close(again);
	return spent;
}

CASE(stream_frames, "A capture device is given the same buffers frame after frame",
     .timeout_ms = 30000, .params = "importer= exporter= order=fixed buffers=4 frames=16 timed=0")
{
	uint32_t buffers = (uint32_t)param_u64("buffers"), frames = (uint32_t)param_u64("frames");
	struct import import = import_open(param_str("importer"));
	struct pool pool = pool_open(param_str("exporter"), buffers, import.queue.size);
	uint32_t timed = (uint32_t)param_u64("timed");
	uint64_t spent[FRAMES_MAX];
	struct stream stream = {
		.order = order(), .queue = &import.queue, .spare = buffers,
	};

	if (!frames || frames > FRAMES_MAX || timed > FRAMES_MAX)
		broken("frames is %u and timed %u, expected 1 to %u", frames, timed, FRAMES_MAX);
	if (timed && timed < TIMED_LEAST)
		broken("timed is %u, expected 0 or at least %u", timed, TIMED_LEAST);
	capture_still(&import.queue);
	v4l2_rate(&import.queue, RATE);
	v4l2_request(&import.queue, V4L2_MEMORY_DMABUF, buffers + (stream.order == ROTATING));

	window_begin();
	for (uint32_t i = 0; i < buffers; i++) {
		stream.held[i] = pool.fd[i];
		v4l2_queue(&import.queue, i, stream.held[i]);
	}
	window_end("first");

	v4l2_stream(&import.queue, true);
	window_begin();
	for (uint32_t i = 0; i < frames; i++)
		next_frame(&stream);
	window_end("frames");
	info("frames", "%u", frames);

	if (timed) {	/* those have warmed it up */
		timing_begin();
		for (uint32_t i = 0; i < timed; i++)
			spent[i] = next_frame(&stream);
		timing_end();
		sort_u64(spent, timed);
		sample("queue_time_p50", (double)percentile(spent, timed, 500), "ns", "frames");
		sample("queue_time_max", (double)spent[timed - 1], "ns", "frames");
	}

	v4l2_stream(&import.queue, false);
	window_begin();
	v4l2_request(&import.queue, V4L2_MEMORY_DMABUF, 0);
	window_end("free");

	import_close(&import);
	pool_close(&pool);
}
