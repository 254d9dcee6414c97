/* SPDX-License-Identifier: MIT */
/* What the kernel's slab caches hold, cache by cache, and by how much they grow. */
#ifndef FARM_SLAB_H
#define FARM_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_CACHES_MAX 768u

struct slab_cache {
	char name[48];
	uint64_t bytes;		/* of an object */
	uint64_t before, now;	/* objects in use, at slab_mark() and the least since */
	bool cleared;		/* of suspicion */
};

struct slab {
	struct slab_cache cache[SLAB_CACHES_MAX];	/* those that are looked at */
	size_t count;
	int shrink[SLAB_CACHES_MAX];	/* files of all */
	size_t shrink_count;
	int info;
};

/*
 * Opens what is needed to look, so that looking opens nothing, and says which caches are left out (info slab_left_out).
 * false: the kernel or the user's rights do not allow it.
 */
bool slab_open(struct slab *slab);
void slab_close(struct slab *slab);
/*
 * Counts the objects of each cache, where that is less than what was counted since the mark (/proc/slabinfo).
 * All are shrunk first (/sys/kernel/slab/NAME/shrink), as slabs and sheaves that the CPUs keep count as
 * in use (get_slabinfo(), mm/slub.c, 6.1 to 7.3). The first object that anybody takes afterwards is a whole slab
 * more, so several looks are needed to be sure. A count is never too low.
 */
void slab_look(struct slab *slab);
/* What was counted last is what caches grow from. */
void slab_mark(struct slab *slab);

/* Lets go of what the kernel keeps for speed alone: files' names and pages (/proc/sys/vm/drop_caches). */
void slab_drop_caches(void);
/* From now on only those caches are asked that have grown by more than `allowed` objects since the mark. */
void slab_suspect(struct slab *slab, int64_t allowed);
/* From now on all are asked again. */
void slab_suspect_all(struct slab *slab);

/* The cache that has grown most since the mark, in objects. NULL: none has. */
const struct slab_cache *slab_grown(const struct slab *slab, int64_t *objects);
/* By how many bytes all caches together have grown since the mark. */
int64_t slab_growth_bytes(const struct slab *slab);

#endif
