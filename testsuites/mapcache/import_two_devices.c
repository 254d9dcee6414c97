/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

static void import_into(struct import *import, int dmabuf, const char *phase)
{
	int err;

	window_begin();
	err = import_try(import, dmabuf);
	window_end(phase);
	check(!err, "%s refused the buffer: %s", import->address, errname(err));
}

CASE(import_two_devices, "Two devices hold a buffer at the same time",
     .params = "importer= other= exporter=udmabuf size=1048576")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	struct import one = import_open(param_str("importer"));
	struct import other = import_open(param_str("other"));

	import_into(&one, buffer.fd, "one");
	import_into(&other, buffer.fd, "other");

	import_drop(&other);
	import_drop(&one);
	import_close(&other);
	import_close(&one);
	buffer_close(&buffer);
}
