/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

CASE(import_refused, "A refused import fails the same way each time, and the buffer stays usable",
     .params = "exporter= importer= errno= tries=8 size=65536 seed=3")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	uint64_t tries = param_u64("tries");
	struct import import = import_open(param_str("importer"));
	size_t size = import_size(&import, param_u64("size"));
	struct buffer buffer = buffer_open(param_str("exporter"), size);
	int expected = param_errno("errno");

	buffer_fill(&buffer, seed);
	window_begin();
	for (uint64_t i = 0; i < tries; i++) {
		int err = import_try(&import, buffer.fd);

		check(err == -expected, "try %llu ended with %s, expected %s",
		      (unsigned long long)i, errname(err), errname(expected));
	}
	window_end("refused");
	info("tries", "%llu", (unsigned long long)tries);

	check(buffer_mismatch(&buffer, seed) < 0, "refused imports changed the content");
	import_close(&import);
	buffer_close(&buffer);
}
