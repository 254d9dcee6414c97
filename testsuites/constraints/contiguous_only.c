/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <stdlib.h>

CASE(contiguous_only, "A device that needs contiguous memory refuses scattered, takes its own",
     .timeout_ms = 10000, .params = "importer= seed=17")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	const char *address = param_str("importer");
	struct import import = import_open(address);
	struct buffer scattered = buffer_open("udmabuf", import.queue.size);
	struct buffer own = buffer_open(address, import.queue.size);
	void *reference = malloc(import.queue.size);
	int err;

	if (!reference)
		broken("no memory for a reference frame");
	capture_still(&import.queue);
	capture_reference(&import.queue, reference);
	buffer_fill(&scattered, seed);
	buffer_fill(&own, seed);

	/* VIDIOC_QBUF attaches and maps; vb2_dc_map_dmabuf() looks at what the map came to. */
	window_begin();
	err = import_try(&import, scattered.fd);
	window_end("scattered");
	info("scattered", "%s", errname(err));
	check(err == -EFAULT, "a scattered buffer: %s, expected EFAULT", errname(err));
	check(buffer_mismatch(&scattered, seed) < 0, "the refused import changed the content");

	/* The same queue, the same size, contiguous: it was the scatter that was refused. */
	window_begin();
	err = import_try(&import, own.fd);
	window_end("contiguous");
	info("contiguous", "%s", errname(err));
	check(!err, "its own contiguous buffer: %s", errname(err));
	capture_carries(&import, &own, reference, seed);

	import_drop(&import);
	import_close(&import);
	buffer_close(&own);
	buffer_close(&scattered);
	free(reference);
}
