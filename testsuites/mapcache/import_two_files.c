/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <unistd.h>

CASE(import_two_files, "Each open file of a device has an import cache of its own",
     .params = "importer= exporter=udmabuf size=1048576")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int one = drm_open(param_str("importer")), two = drm_open(param_str("importer"));
	uint32_t in_one, in_two;

	window_begin();
	in_one = prime_import(one, buffer.fd);
	window_end("one");
	window_begin();
	in_two = prime_import(two, buffer.fd);
	window_end("two");

	/* Closing it in one file leaves the other's as it was. */
	gem_close(one, in_one);
	check(prime_import(two, buffer.fd) == in_two, "the other file's handle has changed");

	gem_close(two, in_two);
	close(two);
	close(one);
	buffer_close(&buffer);
}
