/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "timing.h"

#include <stdlib.h>
#include <unistd.h>

CASE(reimport, "Each import after a close starts anew",
     .timeout_ms = 20000, .params = "importer= exporter=udmabuf size=1048576 rounds=32")
{
	uint64_t rounds = param_u64("rounds");
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int drm = drm_open(param_str("importer"));
	uint64_t *imports = calloc(rounds, sizeof(*imports));
	uint64_t *closes = calloc(rounds, sizeof(*closes));

	if (!rounds || !imports || !closes)
		broken("no memory for %llu rounds", (unsigned long long)rounds);
	window_begin();
	for (uint64_t i = 0; i < rounds; i++)
		gem_close(drm, prime_import(drm, buffer.fd));
	window_end("rounds");
	info("rounds", "%llu", (unsigned long long)rounds);

	timing_begin();
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t begin = now_ns(), between;
		uint32_t handle = prime_import(drm, buffer.fd);

		between = now_ns();
		gem_close(drm, handle);
		closes[i] = now_ns() - between;
		imports[i] = between - begin;
	}
	timing_end();
	sample_tail("import_time", imports, rounds);
	sample_tail("close_time", closes, rounds);

	free(imports);
	free(closes);
	drm_close(drm);
	buffer_close(&buffer);
}
