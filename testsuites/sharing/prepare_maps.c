/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "pool.h"

#define RATE 50

CASE(prepare_maps, "Buffers are prepared before a stream, and the stream maps nothing more",
     .timeout_ms = 20000, .params = "importer= exporter= memory=dmabuf buffers=3 frames=6")
{
	uint32_t buffers = (uint32_t)param_u64("buffers"), frames = (uint32_t)param_u64("frames");
	struct import import = import_open(param_str("importer"));
	bool shared = param_is("memory", "dmabuf");
	struct pool pool = { 0 };

	if (!shared && !param_is("memory", "mmap"))
		broken("memory is '%s', expected dmabuf or mmap", param_str("memory"));
	if (shared)
		pool = pool_open(param_str("exporter"), buffers, import.queue.size);
	v4l2_request(&import.queue, V4L2_MEMORY_DMABUF, 0);
	v4l2_request(&import.queue, shared ? V4L2_MEMORY_DMABUF : V4L2_MEMORY_MMAP, buffers);
	v4l2_rate(&import.queue, RATE);

	window_begin();
	for (uint32_t i = 0; i < buffers; i++)
		v4l2_prepare(&import.queue, i, shared ? pool.fd[i] : -1);
	window_end("prepare");

	window_begin();
	for (uint32_t i = 0; i < buffers; i++)
		v4l2_queue(&import.queue, i, shared ? pool.fd[i] : -1);
	v4l2_stream(&import.queue, true);
	for (uint32_t i = 0; i < frames; i++) {
		uint32_t index = v4l2_dequeue(&import.queue, PATIENCE_MS);

		v4l2_queue(&import.queue, index, shared ? pool.fd[index] : -1);
	}
	v4l2_stream(&import.queue, false);
	window_end("stream");

	window_begin();
	v4l2_request(&import.queue, import.queue.memory, 0);
	window_end("free");

	import_close(&import);
	pool_close(&pool);
}
