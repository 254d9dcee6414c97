/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "pool.h"

#include <stdlib.h>
#include <unistd.h>

CASE(fd_reused, "A buffer under the descriptor number of a closed one is imported as what it is",
     .timeout_ms = 20000, .params = "importer= exporter= seed=37")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct import import = import_open(param_str("importer"));
	struct pool pool = pool_open(param_str("exporter"), 2, import.queue.size);
	struct buffer *old = &pool.buffer[0], *young = &pool.buffer[1];
	void *reference = malloc(import.queue.size);
	int number = old->fd;

	if (!reference)
		broken("no memory for a reference frame");
	capture_still(&import.queue);
	capture_reference(&import.queue, reference);

	buffer_fill(old, seed);
	window_begin();
	check(!import_try(&import, number), "the first buffer was refused: %s",
	      errname(import.error));
	window_end("old");
	capture_carries(&import, old, reference, seed);

	/* From here on the number is the other buffer's; the old one lives on under another. */
	buffer_fill(old, seed + 1);
	buffer_fill(young, seed + 2);
	old->fd = dup(number);
	if (old->fd < 0 || dup2(young->fd, number) < 0)
		broken("dup: %s", errname(errno));
	close(young->fd);
	young->fd = number;
	check(!same_file(old->fd, young->fd), "both descriptors are one file");

	window_begin();
	check(!import_try(&import, number), "the second buffer was refused: %s",
	      errname(import.error));
	window_end("young");
	capture_carries(&import, young, reference, seed + 2);
	check(buffer_mismatch(old, seed + 1) < 0,
	      "the frame went to the buffer that had this number before (byte %lld)",
	      (long long)buffer_mismatch(old, seed + 1));

	window_begin();
	check(!import_try(&import, number), "the same buffer again was refused: %s",
	      errname(import.error));
	window_end("same");

	import_drop(&import);
	import_close(&import);
	pool_close(&pool);
	free(reference);
}
