/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <unistd.h>

static uint32_t timed_import(int drm, int buffer, const char *phase)
{
	uint64_t begin, end;
	uint32_t handle;

	window_begin();
	begin = now_ns();
	handle = prime_import(drm, buffer);
	end = now_ns();
	window_end(phase);
	sample("import_time", (double)(end - begin), "ns", phase);
	return handle;
}

CASE(import_twice, "A second import of a buffer on the same open device gives the same handle",
     .timeout_ms = 20000, .params = "importer= exporter=udmabuf size=1048576")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int drm = drm_open(param_str("importer"));
	uint32_t first = timed_import(drm, buffer.fd, "first");
	uint32_t again = timed_import(drm, buffer.fd, "again");

	check(first == again, "first import gave handle %u, second %u", first, again);

	window_begin();
	gem_close(drm, first);
	window_end("close");
	drm_close(drm);
	buffer_close(&buffer);
}
