/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

static void access_once(int dmabuf, uint64_t access)
{
	dmabuf_sync(dmabuf, DMA_BUF_SYNC_START | access);
	dmabuf_sync(dmabuf, DMA_BUF_SYNC_END | access);
}

CASE(cpu_first, "A buffer's first CPU access, the later ones of each kind, and its release",
     .params = "exporter=udmabuf times=16 size=1048576")
{
	static const uint64_t kinds[] = { DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_RW };
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	uint64_t times = param_u64("times");

	info("times", "%llu", (unsigned long long)times * 3);
	window_begin();
	access_once(buffer.fd, DMA_BUF_SYNC_READ);
	window_end("first");
	window_begin();
	for (uint64_t i = 0; i < times; i++)
		for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
			access_once(buffer.fd, kinds[kind]);
	window_end("later");
	window_begin();
	buffer_close(&buffer);
	window_end("release");
}
