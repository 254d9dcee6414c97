/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "stress.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 8			/* buffers that all threads share */
#define KEPT 4			/* imports that a thread keeps at a time */
#define DEVICES 16
#define SLAB_PER_OPERATION 64u	/* bytes: less than anything that could leak in one */
#define SLAB_SLACK (2u << 20)	/* bytes that caches may keep for themselves */

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
		worker->operations++;
	}
	for (int i = 0; i < KEPT; i++)
		drop(&kept[i]);
}

/* Unreclaimable slab of the board in bytes; -1: it does not tell. */
static int64_t slab_bytes(void)
{
	char text[8192];
	const char *line;

	if (read_file_raw("/proc/meminfo", text, sizeof(text)) <= 0)
		return -1;
	line = strstr(text, "SUnreclaim:");
	return line ? strtoll(line + strlen("SUnreclaim:"), NULL, 10) * 1024 : -1;
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

CASE(share_churn, "Threads export, import and close buffers of all devices at random, and leak nothing",
     .timeout_ms = 60000, .needs = "smp",
     .params = "exporters=udmabuf importers=drm:vgem seed=1 ms=500 rounds=0 workers=4 leak=0 "
	       "settle_ms=5000")
{
	struct churn shared = { 0 };
	uint64_t leaks = param_u64("leak");
	int64_t slab_before, slab_after;
	struct bufinfo before;
	double per_operation;
	uint64_t operations;

	for (int i = 0; i < SLOTS; i++) {
		pthread_mutex_init(&shared.slot[i].lock, NULL);
		shared.slot[i].fd = -1;
	}
	shared.exporter_count = split(param_str("exporters"), shared.exporters);
	shared.importer_count = split(param_str("importers"), shared.importers);
	before = bufinfo();
	slab_before = slab_bytes();
	window_begin();
	operations = stress_threads((unsigned int)param_u64("workers"), churn, &shared);
	for (int i = 0; i < SLOTS; i++)
		empty(&shared.slot[i]);
	window_end("churn");
	/* On purpose, for the control: a descriptor that nobody closes keeps the buffer. */
	for (uint64_t i = 0; i < leaks; i++)
		buffer_open(shared.exporters[0], 4096);
	objects_are_back(&before, param_u64("settle_ms"));
	slab_after = slab_bytes();
	check(slab_before < 0 || slab_after - slab_before <
		      (int64_t)(SLAB_SLACK + operations * SLAB_PER_OPERATION),
	      "the slab has grown by %lld bytes in %llu operations",
	      (long long)(slab_after - slab_before), (unsigned long long)operations);
	per_operation = (double)(slab_after - slab_before) / (double)operations;
	sample("slab_growth", per_operation, "B/op", "stress");
	info("imports", "%llu", (unsigned long long)shared.imports);
	info("refusals", "%llu", (unsigned long long)shared.refusals);
	forget(shared.exporters, shared.exporter_count);
	forget(shared.importers, shared.importer_count);
}
