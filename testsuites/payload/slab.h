/* SPDX-License-Identifier: MIT */
/* What the kernel's slab caches hold, cache by cache. */
#ifndef FARM_SLAB_H
#define FARM_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_CACHES_MAX 512u

struct slab_cache {
	char name[48];
	uint64_t objects;	/* in use */
	uint64_t object_bytes;
};

struct slab {
	struct slab_cache cache[SLAB_CACHES_MAX];
	size_t count;
};

/*
 * Counts the objects of each cache (/proc/slabinfo), or brings what was counted down to what is there
 * now, where that is less. All caches are shrunk first (/sys/kernel/slab/NAME/shrink), as what the CPUs
 * keep for themselves counts as in use (get_slabinfo(), mm/slub.c, 6.12 to 7.3): so a count is never
 * too low, and too high only by what was allocated meanwhile: by an object or two. The caches of address
 * spaces and of IOVA ranges are left out. false: the kernel or the user's rights do not allow it.
 */
bool slab_least(struct slab *slab);

/* The cache that has grown most from one to the other, in objects. NULL: none has. */
const struct slab_cache *slab_grown(const struct slab *before, const struct slab *after,
				    int64_t *objects);
/* By how many bytes all caches together have grown. */
int64_t slab_growth_bytes(const struct slab *before, const struct slab *after);

#endif
