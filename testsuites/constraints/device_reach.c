/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES 8192u	/* three transfers each way */

/* The highest physical address that /proc/iomem calls memory. */
static uint64_t top_of_memory(void)
{
	char text[32768], *line, *rest = NULL;
	uint64_t top = 0;

	if (read_file_raw("/proc/iomem", text, sizeof(text)) <= 0)
		return 0;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *dash = strchr(line, '-');
		uint64_t end = dash && *line != ' ' ? strtoull(dash + 1, NULL, 16) : 0;

		if (end > top && strstr(line, "System RAM"))
			top = end;
	}
	return top;
}

CASE(device_reach, "A device with few address bits reads and writes the right memory",
     .timeout_ms = 20000,
     .params = "importer=refdev exporter=heap:system mode=per-use size=1048576 seed=29")
{
	uint32_t flags = param_is("mode", "cached") ? REFDEV_CACHED : 0;
	uint32_t seed = (uint32_t)param_u64("seed"), id;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(param_str("importer"));
	struct refdev_info about = refdev_info(device);
	uint64_t half = buffer.size / 2, highest;
	uint8_t *expected = malloc(buffer.size);
	const uint8_t *seen;
	size_t at = 0;

	if (!expected)
		broken("no memory for a buffer to compare with");
	info("dma_bits", "%u", about.dma_bits);
	info("memory_top", "%llu", (unsigned long long)top_of_memory());
	pattern_fill(expected, buffer.size, seed);
	memcpy(expected + half, expected, BYTES);
	buffer_fill(&buffer, seed);

	window_begin();
	id = refdev_attach(device, buffer.fd, flags);
	highest = refdev_copy(device, id, 0, half, BYTES);
	window_end("copies");
	info("highest_dma_address", "%llu", (unsigned long long)highest);
	check(highest >> about.dma_bits == 0, "the device was told the address %#llx, it has %u bits",
	      (unsigned long long)highest, about.dma_bits);

	seen = buffer_begin(&buffer, DMA_BUF_SYNC_READ);
	while (at < buffer.size && seen[at] == expected[at])
		at++;
	check(at == buffer.size, "wrong data: byte %zu is 0x%02x, expected 0x%02x", at, seen[at],
	      expected[at]);
	buffer_end(&buffer, DMA_BUF_SYNC_READ);

	refdev_detach(device, id);
	close(device);
	buffer_close(&buffer);
	free(expected);
}
