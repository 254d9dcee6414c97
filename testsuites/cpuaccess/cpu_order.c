/* SPDX-License-Identifier: MIT */
#include "farm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT 64u

/* A udmabuf of the memfd's parts of `run` bytes, the last one first. */
static int backwards(int memory, size_t run)
{
	uint64_t offsets[COUNT];

	for (unsigned int i = 0; i < COUNT; i++)
		offsets[i] = (COUNT - 1 - i) * run;
	return udmabuf_from_list(memory, offsets, COUNT, run);
}

CASE(cpu_order, "A program maps a buffer of pieces in their order, as one contiguous range",
     .params = "pages=small seed=31")
{
	bool huge = param_is("pages", "huge");
	size_t page = (size_t)sysconf(_SC_PAGESIZE), run = huge ? 8 * page : page, size = COUNT * run;
	uint32_t seed = (uint32_t)param_u64("seed");
	int memory = huge ? memfd_huge(size, F_SEAL_SHRINK) : memfd(size, F_SEAL_SHRINK), fd;
	uint8_t *pieces, *map;

	check(huge || param_is("pages", "small"), "pages is '%s', not small or huge",
	      param_str("pages"));
	fd = backwards(memory, run);
	pieces = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	check(pieces != MAP_FAILED, "mmap of the memfd: %s", errname(errno));

	/* Each piece has a pattern of its own, so that none can stand in for another. */
	for (unsigned int i = 0; i < COUNT; i++)
		pattern_fill(pieces + (COUNT - 1 - i) * run, run, seed + i);
	map = dmabuf_map(fd, size, PROT_READ | PROT_WRITE);
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	for (unsigned int i = 0; i < COUNT; i++) {
		int64_t wrong = pattern_mismatch(map + i * run, run, seed + i);

		check(wrong < 0, "piece %u of %u differs at its byte %lld", i, COUNT,
		      (long long)wrong);
	}
	pattern_fill(map, size, seed + COUNT);
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);

	/* What was written as one range is in the pieces, across each of their borders. */
	for (unsigned int i = 0; i < COUNT; i++)
		for (size_t at = 0; at < run; at++)
			check(pieces[(COUNT - 1 - i) * run + at] == map[i * run + at],
			      "byte %zu of piece %u is not what was written at %zu of the buffer",
			      at, i, i * run + at);
	dmabuf_unmap(map, size);
	munmap(pieces, size);
	close(fd);
	close(memory);
}
