/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <stdlib.h>

CASE(cpu_import, "A capture device that writes with the CPU fills an imported buffer",
     .timeout_ms = 10000, .params = "importer= exporter=udmabuf size=1048576 seed=13")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	struct import import = import_open(param_str("importer"));
	void *reference = malloc(import.queue.size);
	int err;

	if (!reference)
		broken("no memory for a reference frame");
	capture_still(&import.queue);
	capture_reference(&import.queue, reference);
	buffer_fill(&buffer, seed);

	window_begin();
	err = import_try(&import, buffer.fd);
	window_end("import");
	check(!err, "%s refused the buffer: %s", import.address, errname(err));

	window_begin();
	v4l2_stream(&import.queue, true);
	check(v4l2_dequeue(&import.queue, PATIENCE_MS) == 0, "another buffer than the only one came back");
	v4l2_stream(&import.queue, false);
	window_end("frame");

	/* The same once more, compared byte by byte; the comparison may map (udmabuf's SYNC does). */
	import_drop(&import);
	buffer_fill(&buffer, seed);
	check(!import_try(&import, buffer.fd), "the second import was refused");
	capture_carries(&import, &buffer, reference, seed);

	import_drop(&import);
	import_close(&import);
	buffer_close(&buffer);
	free(reference);
}
