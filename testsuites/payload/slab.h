/* SPDX-License-Identifier: MIT */
/* What the kernel's slab caches hold, cache by cache, and by how much they grow. */
#ifndef FARM_SLAB_H
#define FARM_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_CACHES_MAX 512u

struct slab_cache {
	char folder[48];	/* in /sys/kernel/slab */
	char name[48];		/* what one of its users calls it: caches of one kind are merged */
	int shrink, objects;	/* its files */
	uint64_t bytes;		/* of an object */
	uint64_t before, now;	/* objects in use, at slab_mark() and the least since */
};

struct slab {
	struct slab_cache cache[SLAB_CACHES_MAX];
	size_t count;
};

/*
 * Opens the files of all caches that there are (two each, so that looking at them opens nothing), but those of
 * address spaces and of IOVA ranges. false: the kernel or the user's rights do not allow it.
 */
bool slab_open(struct slab *slab);
void slab_close(struct slab *slab);
/*
 * Counts the objects of each cache, where that is less than what was counted since the mark. A cache is
 * shrunk immediately before (/sys/kernel/slab/NAME/shrink), as slabs and sheaves that the CPUs keep count as in use
 * (show_slab_objects(), mm/slub.c, 6.1 to 7.3): the first object that anybody takes afterwards is a
 * whole slab more, so several looks are needed to be sure. A count is never too low.
 */
void slab_look(struct slab *slab);
/* What was counted last is what caches grow from. */
void slab_mark(struct slab *slab);

/* The cache that has grown most since the mark, in objects. NULL: none has. */
const struct slab_cache *slab_grown(const struct slab *slab, int64_t *objects);
/* By how many bytes all caches together have grown since the mark. */
int64_t slab_growth_bytes(const struct slab *slab);

#endif
