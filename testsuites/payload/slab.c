/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "slab.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/slab"
#define CACHE_NAME 48

/*
 * What address spaces are made of, which come and go with any process of the board; IOVA ranges, of which
 * each CPU keeps some hundred for each of six sizes (drivers/iommu/iova.c, IOVA_MAG_SIZE, 6.12); and what
 * vunmap() leaves for later (mm/vmalloc.c, lazy_max_pages()). With them goes what they are merged with.
 */
static const char *const unsteady[] = {
	"anon_vma", "anon_vma_chain", "maple_node", "mm_struct", "vm_area_struct", "vma_lock",
	"iommu_iova", "iommu_iova_magazine", "vmap_area",
};

#define UNSTEADY (sizeof(unsteady) / sizeof(*unsteady))

/* What a cache is by itself: those of one size and kind may be merged, and are links to one folder then. */
static void real_name(const char *cache, char real[CACHE_NAME])
{
	char path[sizeof(FOLDER) + CACHE_NAME];
	ssize_t length;

	snprintf(path, sizeof(path), FOLDER "/%s", cache);
	length = readlink(path, real, CACHE_NAME - 1);
	if (length >= 0)
		real[length] = '\0';
	else
		snprintf(real, CACHE_NAME, "%s", cache);
}

static bool is_unsteady(const char *cache, char names[UNSTEADY][CACHE_NAME])
{
	char real[CACHE_NAME];

	real_name(cache, real);
	for (size_t i = 0; i < UNSTEADY; i++)
		if (!strcmp(real, names[i]))
			return true;
	return false;
}

/* Each cache once: those that were merged into another are links to it. */
static bool shrink_all(void)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;
	bool all = folder;

	if (!folder)
		return false;
	while (all && (entry = readdir(folder))) {
		char path[sizeof(FOLDER) + sizeof(entry->d_name) + 8];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), FOLDER "/%s/shrink", entry->d_name);
		all = !write_file_raw(path, "1");
	}
	closedir(folder);
	return all;
}

/* Its number, slab->count if it is not there. */
static size_t find(const struct slab *slab, const char *name)
{
	size_t i = 0;

	while (i < slab->count && strcmp(slab->cache[i].name, name))
		i++;
	return i;
}

static void take(struct slab *slab, const struct slab_cache *seen, bool first)
{
	size_t at = find(slab, seen->name);

	if (at < slab->count) {
		if (seen->objects < slab->cache[at].objects)
			slab->cache[at].objects = seen->objects;
	} else if (first && at < SLAB_CACHES_MAX) {
		slab->cache[slab->count++] = *seen;
	}
}

/* Objects that a cache has more than before; one that was not there then has not grown. */
static int64_t grown_since(const struct slab *before, const struct slab_cache *now)
{
	size_t at = find(before, now->name);

	return at < before->count ? (int64_t)(now->objects - before->cache[at].objects) : 0;
}

bool slab_least(struct slab *slab)
{
	char line[512], names[UNSTEADY][CACHE_NAME];
	bool first = !slab->count;
	FILE *file;

	if (!shrink_all())
		return false;
	file = fopen("/proc/slabinfo", "re");
	if (!file)
		return false;
	for (size_t i = 0; i < UNSTEADY; i++)
		real_name(unsteady[i], names[i]);
	/* "name active_objs num_objs objsize …", below two lines of headings */
	while (fgets(line, sizeof(line), file)) {
		unsigned long long objects, bytes;
		struct slab_cache seen;

		if (sscanf(line, "%47s %llu %*u %llu", seen.name, &objects, &bytes) != 3 ||
		    is_unsteady(seen.name, names))
			continue;
		seen.objects = objects;
		seen.object_bytes = bytes;
		take(slab, &seen, first);
	}
	fclose(file);
	return slab->count;
}

const struct slab_cache *slab_grown(const struct slab *before, const struct slab *after,
				    int64_t *objects)
{
	const struct slab_cache *most = NULL;

	*objects = 0;
	for (size_t i = 0; i < after->count; i++) {
		int64_t grown = grown_since(before, &after->cache[i]);

		if (grown > *objects) {
			*objects = grown;
			most = &after->cache[i];
		}
	}
	return most;
}

int64_t slab_growth_bytes(const struct slab *before, const struct slab *after)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < after->count; i++)
		bytes += grown_since(before, &after->cache[i]) * (int64_t)after->cache[i].object_bytes;
	return bytes;
}
