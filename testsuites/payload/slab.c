/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "slab.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/slab"
#define INFO "/proc/slabinfo"
#define CACHE_NAME sizeof(((struct slab_cache *)0)->name)

/*
 * What address spaces are made of, which come and go with any process of the board; IOVA ranges, of which
 * each CPU keeps some hundred for each of six sizes (drivers/iommu/iova.c, IOVA_MAG_SIZE, 6.12); what
 * vunmap() leaves for later (mm/vmalloc.c, lazy_max_pages()); and what debug kernels note of every object. With
 * them goes what they are merged with.
 */
static const char *const unsteady[] = {
	"anon_vma", "anon_vma_chain", "maple_node", "mm_struct", "vm_area_struct", "vma_lock",
	"iommu_iova", "iommu_iova_magazine", "vmap_area",
	"kmemleak_object", "kmemleak_scan_area", "debug_objects_cache",
};

#define UNSTEADY ARRAY_SIZE(unsteady)

/*
 * What is written to shrink a cache. It is as long as that since the kernel copies it into memory of its
 * own (kernfs_fop_write_iter()): of a cache whose slabs hold few objects, and not of the smallest, whose hold hundreds.
 */
static char shrink[3000];

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

/* Each cache once: those that were merged into another are links to it. false: not for us. */
static bool open_shrink(struct slab *slab)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;
	int error = folder ? 0 : errno;

	while (!error && (entry = readdir(folder))) {
		char path[sizeof(FOLDER) + sizeof(entry->d_name) + 8];
		int fd;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (slab->shrink_count == SLAB_CACHES_MAX)
			broken("more than %u slab caches in " FOLDER, SLAB_CACHES_MAX);
		snprintf(path, sizeof(path), FOLDER "/%s/shrink", entry->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0)
			slab->shrink[slab->shrink_count++] = fd;
		else if (errno != ENOENT)	/* which has been destroyed */
			error = errno;
	}
	if (folder)
		closedir(folder);
	if (error && error != EACCES && error != EPERM && error != ENOENT)
		broken(FOLDER ": %s", errname(error));
	return !error && slab->shrink_count;
}

/* The next line of /proc/slabinfo: "name active_objs num_objs objsize …", below two lines of headings. */
static bool next_cache(char **text, char name[CACHE_NAME], uint64_t *objects, uint64_t *bytes)
{
	char *line;

	while ((line = strsep(text, "\n"))) {
		unsigned long long active, size;

		if (sscanf(line, "%47s %llu %*u %llu", name, &active, &size) != 3)
			continue;
		*objects = active;
		*bytes = size;
		return true;
	}
	return false;
}

/* All of /proc/slabinfo; nothing in it is longer than the buffer. */
static char *read_info(const struct slab *slab)
{
	static char text[SLAB_CACHES_MAX * 160];
	size_t used = 0;
	ssize_t length;

	if (lseek(slab->info, 0, SEEK_SET) != 0)
		broken(INFO ": %s", errname(errno));
	while ((length = read(slab->info, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)length;
	if (length < 0 || used == sizeof(text) - 1)
		broken(INFO ": %s", length < 0 ? errname(errno) : "too long");
	text[used] = '\0';
	return text;
}

bool slab_open(struct slab *slab)
{
	struct text left_out = { 0 };
	char *text, name[CACHE_NAME], names[UNSTEADY][CACHE_NAME];
	uint64_t objects, bytes;

	*slab = (struct slab){ .info = open(INFO, O_RDONLY | O_CLOEXEC) };
	if (slab->info < 0 || !open_shrink(slab)) {
		slab_close(slab);
		return false;
	}
	memset(shrink, ' ', sizeof(shrink));
	shrink[0] = '1';
	for (size_t i = 0; i < UNSTEADY; i++)
		real_name(unsteady[i], names[i]);
	text = read_info(slab);
	while (next_cache(&text, name, &objects, &bytes)) {
		if (is_unsteady(name, names)) {
			text_add(&left_out, " %s (%llu bytes)", name, (unsigned long long)bytes);
			continue;
		}
		if (slab->count == SLAB_CACHES_MAX)
			broken("more than %u slab caches in " INFO, SLAB_CACHES_MAX);
		slab->cache[slab->count] = (struct slab_cache){ .bytes = bytes, .now = UINT64_MAX };
		snprintf(slab->cache[slab->count++].name, CACHE_NAME, "%s", name);
	}
	text_add_bytes(&left_out, "", 1);
	info("slab_left_out", "%s", left_out.bytes);
	free(left_out.bytes);
	return slab->count;
}

void slab_close(struct slab *slab)
{
	while (slab->shrink_count)
		close(slab->shrink[--slab->shrink_count]);
	if (slab->info >= 0)
		close(slab->info);
	slab->info = -1;
	slab->count = 0;
}

void slab_look(struct slab *slab)
{
	char *text, name[CACHE_NAME];
	uint64_t objects, bytes;

	for (size_t i = 0; i < slab->shrink_count; i++)
		pwrite(slab->shrink[i], shrink, sizeof(shrink), 0);	/* of one that was destroyed: ENODEV */
	text = read_info(slab);
	for (size_t at = 0; next_cache(&text, name, &objects, &bytes);) {
		size_t tried = 0;

		/* They stay in their order, so that it is nearly always the next one. */
		while (tried < slab->count && strcmp(slab->cache[at % slab->count].name, name)) {
			tried++;
			at++;
		}
		at %= slab->count;
		if (tried < slab->count && objects < slab->cache[at].now)
			slab->cache[at].now = objects;
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
	return cache->now == UINT64_MAX || cache->before == UINT64_MAX ?
		0 : (int64_t)(cache->now - cache->before);
}

void slab_drop_caches(void)
{
	write_file_raw("/proc/sys/vm/drop_caches", "3");
}

void slab_suspect(struct slab *slab, int64_t allowed)
{
	for (size_t i = 0; i < slab->count; i++)
		slab->cache[i].cleared |= growth(&slab->cache[i]) <= allowed;
}

void slab_suspect_all(struct slab *slab)
{
	for (size_t i = 0; i < slab->count; i++)
		slab->cache[i].cleared = false;
}

const struct slab_cache *slab_grown(const struct slab *slab, int64_t *objects)
{
	const struct slab_cache *most = NULL;

	*objects = 0;
	for (size_t i = 0; i < slab->count; i++) {
		if (!slab->cache[i].cleared && growth(&slab->cache[i]) > *objects) {
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
