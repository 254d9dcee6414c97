/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "pool.h"

#include <string.h>
#include <unistd.h>

#define RATE 50
#define FRAME_WAIT_MS 3000
#define FRAMES_MAX 256u

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

CASE(stream_frames, "A capture device is given the same buffers frame after frame",
     .timeout_ms = 30000, .params = "importer= exporter= order=fixed buffers=4 frames=16")
{
	enum order order_is = order();
	uint32_t buffers = (uint32_t)param_u64("buffers"), frames = (uint32_t)param_u64("frames");
	struct import import = import_open(param_str("importer"));
	struct pool pool = pool_open(param_str("exporter"), buffers, import.queue.size);
	uint64_t spent[FRAMES_MAX], begin;
	int held[POOL_MAX + 1];		/* the dma-buf that each index has */
	uint32_t spare = buffers;	/* rotating: the index that has none */

	if (!frames || frames > FRAMES_MAX)
		broken("frames is %u, expected 1 to %u", frames, FRAMES_MAX);
	capture_still(&import.queue);
	v4l2_rate(&import.queue, RATE);
	v4l2_request(&import.queue, V4L2_MEMORY_DMABUF, buffers + (order_is == ROTATING));

	window_begin();
	for (uint32_t i = 0; i < buffers; i++) {
		held[i] = pool.fd[i];
		v4l2_queue(&import.queue, i, held[i]);
	}
	window_end("first");

	v4l2_stream(&import.queue, true);
	window_begin();
	for (uint32_t i = 0; i < frames; i++) {
		uint32_t index = v4l2_dequeue(&import.queue, FRAME_WAIT_MS), to = index;
		int fd = held[index], again = fd;

		if (order_is == ROTATING) {
			to = spare;
			spare = index;
		} else if (order_is == DUPLICATED) {
			again = dup(fd);
			if (again < 0)
				broken("dup: %s", errname(errno));
		}
		begin = now_ns();
		v4l2_queue(&import.queue, to, again);
		spent[i] = now_ns() - begin;
		held[to] = fd;
		if (again != fd)
			close(again);
	}
	window_end("frames");
	sort_u64(spent, frames);
	sample("queue_time_p50", (double)percentile(spent, frames, 500), "ns", "frames");
	sample("queue_time_max", (double)spent[frames - 1], "ns", "frames");
	info("frames", "%u", frames);

	v4l2_stream(&import.queue, false);
	window_begin();
	v4l2_request(&import.queue, V4L2_MEMORY_DMABUF, 0);
	window_end("free");

	import_close(&import);
	pool_close(&pool);
}
