/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <unistd.h>

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
	begin = now_ns();
	for (uint64_t i = 1; i < imports; i++) {
		uint32_t again = prime_import(drm, buffer.fd);

		check(again == handle, "import %llu gave handle %u, the first %u",
		      (unsigned long long)i + 1, again, handle);
	}
	end = now_ns();
	window_end("rest");
	sample("import_time", (double)(end - begin) / (double)(imports - 1), "ns", "rest");

	window_begin();
	gem_close(drm, handle);
	window_end("close");
	gem_close_errno(drm, handle, EINVAL);

	drm_close(drm);
	buffer_close(&buffer);
}
