/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "pool.h"

#define RATE 50
#define KEPT 2u		/* buffers that stay in the queue */
#define ADDED 2u	/* buffers that come and go in a round */

/* Dequeues until each of the added buffers has had its frame; the others go round meanwhile. */
static uint32_t frames_into(struct v4l2_queue *queue, const struct pool *pool, uint32_t first)
{
	uint32_t waiting = ADDED, frames = 0;

	while (waiting) {
		uint32_t index = v4l2_dequeue(queue, PATIENCE_MS);

		frames++;
		if (index >= first && index < first + ADDED)
			waiting--;
		else if (index < KEPT)
			v4l2_queue(queue, index, pool->fd[index]);
		else
			fail("buffer %u came back, which was not queued", index);
	}
	return frames;
}

CASE(buffers_come_and_go, "Buffers are added to a stream and removed from it while it runs",
     .timeout_ms = 30000, .params = "importer= exporter= rounds=3 claimed=1")
{
	uint32_t rounds = (uint32_t)param_u64("rounds"), frames = 0;
	struct import import = import_open(param_str("importer"));
	struct v4l2_queue *queue = &import.queue;
	struct pool pool = pool_open(param_str("exporter"), KEPT + rounds * ADDED, queue->size);
	bool removes;

	v4l2_request(queue, V4L2_MEMORY_DMABUF, KEPT);
	removes = queue->features & V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS;
	info("remove_bufs", "%s", removes ? "yes" : "no");
	if (!removes && !param_u64("claimed"))
		skip("%s has no VIDIOC_REMOVE_BUFS on this kernel", import.address);
	check(removes, "VIDIOC_REQBUFS does not claim V4L2_BUF_CAP_SUPPORTS_REMOVE_BUFS: %#x",
	      queue->features);

	v4l2_rate(queue, RATE);
	for (uint32_t i = 0; i < KEPT; i++)
		v4l2_queue(queue, i, pool.fd[i]);
	v4l2_stream(queue, true);

	window_begin();
	for (uint32_t round = 0; round < rounds; round++) {
		const int *added = &pool.fd[KEPT + round * ADDED];
		uint32_t first = v4l2_create(queue, ADDED);

		for (uint32_t i = 0; i < ADDED; i++)
			v4l2_queue(queue, first + i, added[i]);
		frames += frames_into(queue, &pool, first);
		v4l2_remove(queue, first, ADDED);
		check(v4l2_queue_raw(queue, first, added[0]) == -EINVAL,
		      "a removed buffer can be queued");
	}
	window_end("rounds");
	info("added", "%u", rounds * ADDED);
	info("frames", "%u", frames);

	v4l2_stream(queue, false);
	import_close(&import);
	pool_close(&pool);
}
