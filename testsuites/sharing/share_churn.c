/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "slab.h"
#include "stress.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SLOTS 8			/* buffers that all threads share */
#define KEPT 4			/* imports that a thread keeps at a time */
#define DEVICES 16
#define SLAB_SLACK 128		/* objects that a cache may have more, however few operations there were */
#define SLAB_OPERATIONS 64	/* and one more for so many */
#define SLAB_READS 3

struct slot {
	pthread_mutex_t lock;
	int fd;			/* the dma-buf, -1: none */
	size_t size;
	uint32_t seed;
};

struct churn {
	struct slot slot[SLOTS];
	char *exporters[DEVICES], *importers[DEVICES];
	unsigned int exporter_count, importer_count;
	_Atomic uint64_t imports, refusals;
	uint64_t keep_files;	/* on purpose, for the control: so many for each operation */
	struct bufinfo before;
	struct slab slab;	/* after the first half, in which caches fill for the first time */
	uint64_t operations;	/* of the first half */
	bool slab_told;
};

/* "udmabuf+heap:system" cut at each plus. */
static unsigned int split(const char *list, char *words[DEVICES])
{
	unsigned int count = 0;
	char *copy = strdup(list), *save = NULL;

	for (char *word = strtok_r(copy, "+", &save); word; word = strtok_r(NULL, "+", &save)) {
		if (count == DEVICES)
			broken("more than %d devices in '%s'", DEVICES, list);
		words[count++] = strdup(word);
	}
	free(copy);
	return count;
}

static void forget(char *words[DEVICES], unsigned int count)
{
	while (count--)
		free(words[count]);
}

/* As buffer_close(), without a sample of each DRM file that is closed. */
static void close_exporter(struct buffer *buffer)
{
	close(buffer->fd);
	if (buffer->device >= 0) {
		gem_close(buffer->device, buffer->handle);
		close(buffer->device);
	}
}

/* Puts a new buffer into the slot; only its dma-buf stays, the exporter's own handle goes. */
static void renew(struct slot *slot, const char *exporter, size_t size, uint32_t seed)
{
	struct buffer buffer = buffer_open(exporter, size);
	int fd = fcntl(buffer.fd, F_DUPFD_CLOEXEC, 0), old;

	check(fd >= 0, "dup: %s", errname(errno));
	dmabuf_fill(fd, buffer.size, seed);
	pthread_mutex_lock(&slot->lock);
	old = slot->fd;
	slot->fd = fd;
	slot->size = buffer.size;
	slot->seed = seed;
	pthread_mutex_unlock(&slot->lock);
	close_exporter(&buffer);
	if (old >= 0)
		close(old);
}

static void empty(struct slot *slot)
{
	int old;

	pthread_mutex_lock(&slot->lock);
	old = slot->fd;
	slot->fd = -1;
	pthread_mutex_unlock(&slot->lock);
	if (old >= 0)
		close(old);
}

/* A descriptor of one's own of what is in the slot, -1: nothing. */
static struct slot borrow(struct slot *slot)
{
	struct slot mine;

	pthread_mutex_lock(&slot->lock);
	mine = (struct slot){ .fd = -1, .size = slot->size, .seed = slot->seed };
	if (slot->fd >= 0)
		mine.fd = fcntl(slot->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&slot->lock);
	return mine;
}

static void drop(struct import *import)
{
	if (!import->address)
		return;
	if (!import->error)
		import_drop(import);
	close(import->device);
	import->address = NULL;
}

static void churn(struct worker *worker)
{
	struct churn *churn = worker->arg;
	struct import kept[KEPT] = { 0 };

	while (next_round(worker)) {
		uint32_t what = decide(worker, 6), size = decide(worker, 4), seed = decide(worker, 1000);
		struct slot *slot = &churn->slot[decide(worker, SLOTS)], mine;
		const char *exporter = churn->exporters[decide(worker, churn->exporter_count)];
		const char *importer = churn->importers[decide(worker, churn->importer_count)];
		struct import *import = &kept[decide(worker, KEPT)];

		switch (what) {
		case 0:
			renew(slot, exporter, (size_t)4096 << size, seed);
			break;
		case 1:
			empty(slot);
			break;
		case 2:
			drop(import);
			break;
		case 3:
			mine = borrow(slot);
			if (mine.fd < 0)
				continue;
			dmabuf_verify(mine.fd, mine.size, mine.seed);
			close(mine.fd);
			break;
		default:
			mine = borrow(slot);
			if (mine.fd < 0)
				continue;
			drop(import);
			*import = import_open(importer);
			if (import_try(import, mine.fd) == 0)
				churn->imports++;
			else
				churn->refusals++;
			close(mine.fd);
			break;
		}
		for (uint64_t i = 0; i < churn->keep_files; i++)
			check(eventfd(0, EFD_CLOEXEC) >= 0, "eventfd: %s", errname(errno));
		worker->operations++;
	}
	for (int i = 0; i < KEPT; i++)
		drop(&kept[i]);
}

/* Files are closed, and objects freed, a little later. */
static void objects_are_back(const struct bufinfo *before, uint64_t settle_ms)
{
	uint64_t limit = now_ns() + settle_ms * 1000000;
	struct bufinfo now;

	while ((now = bufinfo()).objects != before->objects && now_ns() < limit)
		sleep_ms(5);
	check(now.objects == before->objects && now.bytes == before->bytes,
	      "%lu dma-bufs of %llu bytes are left, %lu of %llu were there before", now.objects,
	      now.bytes, before->objects, before->bytes);
}

/* Nothing is shared any more; what all caches hold now, the second half must leave as it is. */
static void halfway(void *arg, uint64_t operations)
{
	struct churn *churn = arg;

	for (int i = 0; i < SLOTS; i++)
		empty(&churn->slot[i]);
	objects_are_back(&churn->before, param_u64("settle_ms"));
	churn->operations = operations;
	for (int i = 0; i < SLAB_READS; i++)
		churn->slab_told = slab_least(&churn->slab);
}

/* No cache has grown with the operations of the second half; what is freed late has time to go. */
static void slab_is_level(struct churn *churn, uint64_t operations, uint64_t settle_ms)
{
	int64_t allowed = SLAB_SLACK + (int64_t)(operations / SLAB_OPERATIONS), grown;
	uint64_t limit = now_ns() + settle_ms * 1000000;
	const struct slab_cache *most;
	struct slab *now;

	info("slab", "%s", churn->slab_told ? "told" : "untold");
	if (!churn->slab_told) {
		sample_absent("slab_growth", "needs root, /proc/slabinfo and /sys/kernel/slab");
		return;
	}
	now = calloc(1, sizeof(*now));
	if (!now)
		broken("no memory for what the slab caches hold");
	for (;;) {
		slab_least(now);
		most = slab_grown(&churn->slab, now, &grown);
		if (grown <= allowed || now_ns() > limit)
			break;
		sleep_ms(20);
	}
	info("slab_most", "%s %lld", most ? most->name : "none", (long long)grown);
	check(grown <= allowed,
	      "slab cache %s has grown by %lld objects of %llu bytes in %llu operations, at most %lld "
	      "are no leak", most->name, (long long)grown, (unsigned long long)most->object_bytes,
	      (unsigned long long)operations, (long long)allowed);
	if (operations)
		sample("slab_growth", (double)slab_growth_bytes(&churn->slab, now) / (double)operations,
		       "B/op", "stress");
	free(now);
}

CASE(share_churn, "Threads export, import and close buffers of all devices at random, and leak nothing",
     .timeout_ms = 60000, .needs = "smp",
     .params = "exporters=udmabuf importers=drm:vgem seed=1 ms=500 rounds=0 workers=4 leak=0 "
	       "keep_files=0 settle_ms=5000")
{
	uint64_t leaks = param_u64("leak"), settle_ms = param_u64("settle_ms"), operations;
	struct churn *shared = calloc(1, sizeof(*shared));

	if (!shared)
		broken("no memory for what the threads share");
	for (int i = 0; i < SLOTS; i++) {
		pthread_mutex_init(&shared->slot[i].lock, NULL);
		shared->slot[i].fd = -1;
	}
	shared->exporter_count = split(param_str("exporters"), shared->exporters);
	shared->importer_count = split(param_str("importers"), shared->importers);
	shared->keep_files = param_u64("keep_files");
	shared->before = bufinfo();
	window_begin();
	operations = stress_halves((unsigned int)param_u64("workers"), churn, shared, halfway);
	for (int i = 0; i < SLOTS; i++)
		empty(&shared->slot[i]);
	window_end("churn");
	/* On purpose, for the control: a descriptor that nobody closes keeps the buffer. */
	for (uint64_t i = 0; i < leaks; i++)
		buffer_open(shared->exporters[0], 4096);
	objects_are_back(&shared->before, settle_ms);
	slab_is_level(shared, operations - shared->operations, settle_ms);
	info("imports", "%llu", (unsigned long long)shared->imports);
	info("refusals", "%llu", (unsigned long long)shared->refusals);
	forget(shared->exporters, shared->exporter_count);
	forget(shared->importers, shared->importer_count);
	free(shared);
}
