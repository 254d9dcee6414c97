/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

CASE(map_control, "One import into a device that is known to map, also where it then refuses",
     .params = "importer= exporter=udmabuf size=1048576")
{
	struct import import = import_open(param_str("importer"));
	size_t size = import_size(&import, param_u64("size"));
	struct buffer buffer = buffer_open(param_str("exporter"), size);
	int err;

	window_begin();
	err = import_try(&import, buffer.fd);
	if (!err)
		import_drop(&import);
	window_end("control");
	info("errno", "%s", errname(err));

	import_close(&import);
	buffer_close(&buffer);
}
