/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "slab.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/slab"

/* What address spaces are made of: they come and go with any process of the board. */
static const char *const address_spaces[] = {
	"anon_vma", "anon_vma_chain", "maple_node", "mm_struct", "vm_area_struct", "vma_lock",
};

static bool is_of_processes(const char *cache)
{
	for (size_t i = 0; i < sizeof(address_spaces) / sizeof(*address_spaces); i++)
		if (!strcmp(cache, address_spaces[i]))
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
	bool first = !slab->count;
	char line[512];
	FILE *file;

	if (!shrink_all())
		return false;
	file = fopen("/proc/slabinfo", "re");
	if (!file)
		return false;
	/* "name active_objs num_objs objsize objperslab …", below two lines of headings */
	while (fgets(line, sizeof(line), file)) {
		unsigned long long objects, bytes, per_slab;
		struct slab_cache seen;

		if (sscanf(line, "%47s %llu %*u %llu %llu", seen.name, &objects, &bytes,
			   &per_slab) != 4 ||
		    is_of_processes(seen.name))
			continue;
		seen.objects = objects;
		seen.object_bytes = bytes;
		seen.objects_per_slab = per_slab;
		take(slab, &seen, first);
	}
	fclose(file);
	return slab->count;
}

const struct slab_cache *slab_grown(const struct slab *before, const struct slab *after,
				    int64_t *objects)
{
	const struct slab_cache *most = NULL;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*objects = 0;
	for (size_t i = 0; i < after->count; i++) {
		int64_t grown = grown_since(before, &after->cache[i]) -
				(int64_t)after->cache[i].objects_per_slab * cpus;

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
