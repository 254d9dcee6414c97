/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "timing.h"

#include <unistd.h>

static void import_again(int drm, int buffer, uint32_t handle, uint64_t number)
{
	uint32_t again = prime_import(drm, buffer);

	check(again == handle, "import %llu gave handle %u, the first %u",
	      (unsigned long long)number, again, handle);
}

CASE(import_many, "Any number of imports in one file is one handle, and one close frees it",
     .timeout_ms = 20000, .params = "importer= exporter=udmabuf size=1048576 imports=1000")
{
	uint64_t imports = param_u64("imports"), begin, end;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int drm = drm_open(param_str("importer"));
	uint32_t handle;

	window_begin();
	handle = prime_import(drm, buffer.fd);
	window_end("first");

	window_begin();
	for (uint64_t i = 1; i < imports; i++)
		import_again(drm, buffer.fd, handle, i + 1);
	window_end("rest");

	timing_begin();
	begin = now_ns();
	for (uint64_t i = 1; i < imports; i++)
		import_again(drm, buffer.fd, handle, imports + i);
	end = now_ns();
	timing_end();
	sample("import_time", (double)(end - begin) / (double)(imports - 1), "ns", "rest");

	window_begin();
	gem_close(drm, handle);
	window_end("close");
	gem_close_errno(drm, handle, EINVAL);

	drm_close(drm);
	buffer_close(&buffer);
}
