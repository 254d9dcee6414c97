/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#define IMPORTS_MAX 8u

static void access_once(int dmabuf, const char *phase)
{
	window_begin();
	dmabuf_sync(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	window_end(phase);
	dmabuf_sync(dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
}

CASE(cpu_sync, "What SYNC START does for the devices that have a buffer mapped",
     .params = "exporter=heap:system importer=refdev imports=2 size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	uint64_t count = param_u64("imports");
	struct import imports[IMPORTS_MAX];

	if (!count || count > IMPORTS_MAX)
		broken("%llu imports, expected 1 to %u", (unsigned long long)count, IMPORTS_MAX);
	/* A udmabuf's own mapping for the CPU is made at its first access, not in the windows. */
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	access_once(buffer.fd, "before");

	/* Each from an open file of its own: one file imports a buffer once. */
	window_begin();
	for (uint64_t i = 0; i < count; i++) {
		int err;

		imports[i] = import_open(param_str("importer"));
		err = import_try(&imports[i], buffer.fd);
		check(!err, "import %llu was refused: %s", (unsigned long long)i, errname(err));
	}
	window_end("imports");
	access_once(buffer.fd, "mapped");

	for (uint64_t i = 0; i < count; i++) {
		import_drop(&imports[i]);
		import_close(&imports[i]);
	}
	access_once(buffer.fd, "after");
	buffer_close(&buffer);
}
