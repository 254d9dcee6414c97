/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "trace.h"

#include <string.h>
#include <unistd.h>

#define SCATTERED (4u << 20)	/* bytes that are physically scattered for sure: see buffer_open() */
#define BORDER 128u	/* bytes of one transfer, half of them on each side of a page's border */

/* One transfer across the border of two pages that are physically apart, in and out again. */
static void reads_across(struct import *import, struct buffer *buffer, uint32_t seed)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), at = page - BORDER / 2;
	uint32_t copied = refdev_start(import->device, import->handle, 0, at, BORDER);
	const uint8_t *seen;

	check(copied == BORDER, "one transfer across a border of pages ended after %u of %u bytes",
	      copied, BORDER);
	refdev_wait(import->device, import->handle);
	copied = refdev_start(import->device, import->handle, REFDEV_WRITE, 4 * page + at, BORDER);
	check(copied == BORDER, "and back after %u of %u bytes", copied, BORDER);
	refdev_wait(import->device, import->handle);
	seen = buffer_begin(buffer, DMA_BUF_SYNC_READ);
	check(!memcmp(seen + at, seen + 4 * page + at, BORDER),
	      "the device copied other bytes than it was told");
	buffer_end(buffer, DMA_BUF_SYNC_READ);
	buffer_fill(buffer, seed);
}

static void tell_map(const struct dma_map *map)
{
	info("device", "%s", map->device);
	info("entries", "%u", map->entries);
	info("segments", "%u", map->segments);
	info("listed", "%u", map->listed);
	info("address", "%llu", (unsigned long long)map->address);
	info("bytes", "%llu", (unsigned long long)map->bytes);
	info("largest", "%llu", (unsigned long long)map->largest);
	info("contiguous", "%s", map->contiguous ? "yes" : "no");
}

CASE(dma_segments, "What the DMA API makes of a buffer's pages for a device, as its tracepoint tells",
     .timeout_ms = 20000, .params = "importer= exporter=udmabuf refuser=none size=1048576 seed=47")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct import import = import_open(param_str("importer"));
	size_t size = import_size(&import, param_u64("size"));
	struct buffer buffer = buffer_open(param_str("exporter"), size);
	struct dma_map map;
	size_t maps;
	int err;

	if (buffer.size > SCATTERED)
		skip("a frame of %s has %zu bytes, and a udmabuf is scattered up to %u", import.address,
		     buffer.size, SCATTERED);
	buffer_fill(&buffer, seed);
	if (!param_is("refuser", "none")) {
		struct import refuser = import_open(param_str("refuser"));

		err = import_try(&refuser, buffer.fd);
		check(err == -EFAULT, "%s took the buffer that is to be scattered: %s",
		      refuser.address, errname(err));
		import_close(&refuser);
	}

	err = dma_trace_begin_raw();
	if (err)
		skip("dma:dma_map_sg cannot be traced: %s", errname(err));
	window_begin();
	err = import_try(&import, buffer.fd);
	window_end("import");
	maps = dma_trace_end(&map, 1);
	info("size", "%zu", buffer.size);
	info("outcome", "%s", errname(err));
	info("maps", "%zu", maps);
	if (maps) {
		tell_map(&map);
		sample("dma_segments", map.segments, "count", "import");
		sample("dma_segment_max", (double)map.largest, "B", "import");
	}
	if (!err && address_is(import.address, "refdev"))
		reads_across(&import, &buffer, seed);
	check(buffer_mismatch(&buffer, seed) < 0, "importing changed the content");

	if (!err)
		import_drop(&import);
	import_close(&import);
	buffer_close(&buffer);
}
