/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "slab.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/slab"
#define CACHE_NAME sizeof(((struct slab_cache *)0)->name)

/*
 * What address spaces are made of, which come and go with any process of the board; IOVA ranges, of which
 * each CPU keeps some hundred for each of six sizes (drivers/iommu/iova.c, IOVA_MAG_SIZE, 6.12); and what
 * vunmap() leaves for later (mm/vmalloc.c, lazy_max_pages()). With them goes what they are merged with.
 */
static const char *const unsteady[] = {
	"anon_vma", "anon_vma_chain", "maple_node", "mm_struct", "vm_area_struct", "vma_lock",
	"iommu_iova", "iommu_iova_magazine", "vmap_area",
};

static int file_of(const char *cache, const char *file, int flags)
{
	char path[sizeof(FOLDER) + NAME_MAX_BYTES + 32];

	snprintf(path, sizeof(path), FOLDER "/%s/%s", cache, file);
	return open(path, flags | O_CLOEXEC);
}

/* The first number of the file; UINT64_MAX where it has none. */
static uint64_t number_in(int fd)
{
	char text[32];
	ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
	char *end;
	uint64_t value;

	if (length <= 0)
		return UINT64_MAX;
	text[length] = '\0';
	value = strtoull(text, &end, 10);
	return end == text ? UINT64_MAX : value;
}

static void cache_close(const struct slab_cache *cache)
{
	if (cache->shrink >= 0)
		close(cache->shrink);
	if (cache->objects >= 0)
		close(cache->objects);
}

static bool cache_open(struct slab_cache *cache, const char *folder)
{
	int size = file_of(folder, "object_size", O_RDONLY);

	*cache = (struct slab_cache){
		.shrink = file_of(folder, "shrink", O_WRONLY),
		.objects = file_of(folder, "objects", O_RDONLY),
		.bytes = number_in(size),
		.now = UINT64_MAX,
	};
	if (size >= 0)
		close(size);
	snprintf(cache->folder, sizeof(cache->folder), "%s", folder);
	snprintf(cache->name, sizeof(cache->name), "%s", folder);
	if (cache->shrink >= 0 && number_in(cache->objects) != UINT64_MAX)
		return true;
	cache_close(cache);
	return false;
}

static struct slab_cache *cache_in(struct slab *slab, const char *folder)
{
	for (size_t i = 0; i < slab->count; i++)
		if (!strcmp(slab->cache[i].folder, folder))
			return &slab->cache[i];
	return NULL;
}

/* Caches of one size and kind may be merged, and are links to one folder then. */
static void name_after_links(struct slab *slab, DIR *folder)
{
	struct dirent *entry;

	rewinddir(folder);
	while ((entry = readdir(folder))) {
		char target[CACHE_NAME];
		ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
		struct slab_cache *cache;

		if (length < 0)
			continue;
		target[length] = '\0';
		cache = cache_in(slab, target);
		if (cache && strcmp(entry->d_name, cache->name) > 0)
			snprintf(cache->name, sizeof(cache->name), "%s", entry->d_name);
	}
}

static void leave_out(struct slab *slab, const char *name)
{
	char folder[CACHE_NAME];
	ssize_t length;
	struct slab_cache *cache;
	char path[sizeof(FOLDER) + NAME_MAX_BYTES];

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	length = readlink(path, folder, sizeof(folder) - 1);
	if (length >= 0)
		folder[length] = '\0';
	else
		snprintf(folder, sizeof(folder), "%s", name);
	cache = cache_in(slab, folder);
	if (!cache)
		return;
	cache_close(cache);
	*cache = slab->cache[--slab->count];
}

bool slab_open(struct slab *slab)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;
	bool all = folder;

	slab->count = 0;
	if (!folder)
		return false;
	while (all && slab->count < SLAB_CACHES_MAX && (entry = readdir(folder))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		all = cache_open(&slab->cache[slab->count], entry->d_name);
		slab->count += all;
	}
	if (all)
		name_after_links(slab, folder);
	closedir(folder);
	for (size_t i = 0; i < ARRAY_SIZE(unsteady); i++)
		leave_out(slab, unsteady[i]);
	if (!all)
		slab_close(slab);
	return slab->count;
}

void slab_close(struct slab *slab)
{
	while (slab->count)
		cache_close(&slab->cache[--slab->count]);
}

void slab_look(struct slab *slab)
{
	for (size_t i = 0; i < slab->count; i++) {
		struct slab_cache *cache = &slab->cache[i];
		uint64_t objects;

		if (pwrite(cache->shrink, "1", 1, 0) != 1)
			continue;	/* it was destroyed */
		objects = number_in(cache->objects);
		if (objects < cache->now)
			cache->now = objects;
	}
}

void slab_mark(struct slab *slab)
{
	for (size_t i = 0; i < slab->count; i++) {
		slab->cache[i].before = slab->cache[i].now;
		slab->cache[i].now = UINT64_MAX;
	}
}

/* A cache that has gone has not grown. */
static int64_t growth(const struct slab_cache *cache)
{
	return cache->now == UINT64_MAX || cache->before == UINT64_MAX ? 0 : (int64_t)(cache->now - cache->before);
}

const struct slab_cache *slab_grown(const struct slab *slab, int64_t *objects)
{
	const struct slab_cache *most = NULL;

	*objects = 0;
	for (size_t i = 0; i < slab->count; i++) {
		if (growth(&slab->cache[i]) > *objects) {
			*objects = growth(&slab->cache[i]);
			most = &slab->cache[i];
		}
	}
	return most;
}

int64_t slab_growth_bytes(const struct slab *slab)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < slab->count; i++)
		bytes += growth(&slab->cache[i]) * (int64_t)slab->cache[i].bytes;
	return bytes;
}
