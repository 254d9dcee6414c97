/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "slab.h"
#include "stress.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SLOTS 8			/* buffers that all threads share */
#define KEPT 4			/* imports that a thread keeps at a time */
#define DEVICES 16
#define WALK_MS 40000		/* the most, after TURNS_MIN; 256 turns take some seconds */
#define TURNS_ALLOWED 16	/* objects that a cache may have more after the pairs' turns */
#define TURNS_MIN (2 * TURNS_ALLOWED)
#define SLAB_SLACK 64		/* objects that a cache may have more, however few operations there were */
#define SLAB_OPERATIONS 64	/* and one more for so many */
#define SLAB_LOOKS 3
#define FRAME_BYTES (1u << 20)	/* at the least what a video device is asked to take */
#define CHECKED_MAX 32768u	/* bytes of a buffer that are filled and read */

struct slot {
	pthread_mutex_t lock;
	int fd;			/* the dma-buf, -1: none */
	unsigned int exporter;	/* whose it is */
	size_t checked;		/* bytes with the pattern */
	uint32_t seed;
};

struct churn {
	struct slot slot[SLOTS];
	char *exporters[DEVICES], *importers[DEVICES];
	unsigned int exporter_count, importer_count;
	bool barred[DEVICES][DEVICES];	/* by exporter and importer: these two are not brought together */
	pthread_mutex_t video;	/* a queue belongs to one open file at a time */
	_Atomic uint64_t imports, refusals;
	uint64_t keep_files;	/* on purpose, for the control: so many for each operation */
	struct bufinfo before;
	struct slab slab;	/* from after the first half, in which caches fill for the first time */
	uint64_t operations;	/* of the first half */
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

/* Bars each pair of "exporter>importer+…". */
static void bar(struct churn *churn, const char *list)
{
	char *copy, *save = NULL;

	if (!strcmp(list, "none"))
		return;
	copy = strdup(list);
	for (char *pair = strtok_r(copy, "+", &save); pair; pair = strtok_r(NULL, "+", &save)) {
		char *importer = strchr(pair, '>');
		bool found = false;

		if (!importer)
			broken("'%s' is not EXPORTER>IMPORTER", pair);
		*importer++ = '\0';
		for (unsigned int from = 0; from < churn->exporter_count; from++)
			for (unsigned int to = 0; to < churn->importer_count; to++)
				if (!strcmp(churn->exporters[from], pair) &&
				    !strcmp(churn->importers[to], importer))
					found = churn->barred[from][to] = true;
		if (!found)
			broken("no exporter '%s' or no importer '%s'", pair, importer);
	}
	free(copy);
}

static void forget(char *words[DEVICES], unsigned int count)
{
	while (count--)
		free(words[count]);
}

static bool is_video(const char *address)
{
	return address_is(address, "v4l2");
}

/* A new buffer's dma-buf and its size; the exporter's own handle or queue goes. */
static int export(struct churn *churn, const char *exporter, size_t *size)
{
	bool video = is_video(exporter);
	struct buffer buffer;
	int fd;

	if (video)
		pthread_mutex_lock(&churn->video);
	buffer = buffer_open(exporter, *size);
	fd = fcntl(buffer.fd, F_DUPFD_CLOEXEC, 0);
	check(fd >= 0, "dup: %s", errname(errno));
	*size = buffer.size;
	close(buffer.fd);
	/* As buffer_close(), without a sample of each DRM file that is closed. */
	if (video) {
		v4l2_close(&buffer.queue);
		pthread_mutex_unlock(&churn->video);
	} else if (buffer.device >= 0) {
		gem_close(buffer.device, buffer.handle);
		close(buffer.device);
	}
	return fd;
}

/* Puts a new buffer into the slot. */
static void renew(struct churn *churn, struct slot *slot, unsigned int exporter, size_t size,
		  uint32_t seed)
{
	int fd = export(churn, churn->exporters[exporter], &size), old;
	size_t checked = size < CHECKED_MAX ? size : CHECKED_MAX;

	dmabuf_fill(fd, checked, seed);
	pthread_mutex_lock(&slot->lock);
	old = slot->fd;
	slot->fd = fd;
	slot->exporter = exporter;
	slot->checked = checked;
	slot->seed = seed;
	pthread_mutex_unlock(&slot->lock);
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
	mine = (struct slot){ .fd = -1, .exporter = slot->exporter, .checked = slot->checked,
			      .seed = slot->seed };
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

/* Imports into a device that is opened for it, and lets go: a video device at once, others with drop(). */
static void import_new(struct churn *churn, struct import *import, const char *importer, int dmabuf)
{
	bool video = is_video(importer);

	if (video)
		pthread_mutex_lock(&churn->video);
	*import = import_open(importer);
	if (import_try(import, dmabuf) == 0)
		churn->imports++;
	else
		churn->refusals++;
	if (video) {
		v4l2_close(&import->queue);
		import->address = NULL;
		pthread_mutex_unlock(&churn->video);
	}
}

static void share_at_random(struct worker *worker)
{
	/* The largest is as large as a video device's frame, so that it takes it. */
	static const size_t sizes[] = { 4096, 4096, 8192, 8192, 16384, 16384, 32768, FRAME_BYTES };
	struct churn *churn = worker->arg;
	struct import kept[KEPT] = { 0 };

	while (next_round(worker)) {
		uint32_t what = decide(worker, 6), size = decide(worker, 8), seed = decide(worker, 1000);
		struct slot *slot = &churn->slot[decide(worker, SLOTS)], mine;
		uint32_t exporter = decide(worker, churn->exporter_count);
		uint32_t importer = decide(worker, churn->importer_count);
		struct import *import = &kept[decide(worker, KEPT)];

		switch (what) {
		case 0:
			renew(churn, slot, exporter, sizes[size], seed);
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
			dmabuf_verify(mine.fd, mine.checked, mine.seed);
			close(mine.fd);
			break;
		default:
			mine = borrow(slot);
			if (mine.fd < 0)
				continue;
			drop(import);
			if (!churn->barred[mine.exporter][importer])
				import_new(churn, import, churn->importers[importer], mine.fd);
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

static void share_nothing(struct churn *churn)
{
	for (int i = 0; i < SLOTS; i++)
		empty(&churn->slot[i]);
}

/* Files are closed, and objects freed, a little later. */
static void objects_are_back(const struct bufinfo *before, uint64_t settle_ms)
{
	struct patience patience = { .left_ns = settle_ms * 1000000 };
	struct bufinfo now;

	while ((now = bufinfo()).objects != before->objects && patience.left_ns)
		patience_wait(&patience, 5000);
	check(now.objects == before->objects && now.bytes == before->bytes,
	      "%lu dma-bufs of %llu bytes are left, %lu of %llu were there before", now.objects,
	      now.bytes, before->objects, before->bytes);
}

static void slab_looks(struct churn *churn)
{
	for (int i = 0; i < SLAB_LOOKS; i++)
		slab_look(&churn->slab);
}

/* Nothing is shared any more; what all caches hold now, the second half must leave as it is. */
static void halfway(void *arg, uint64_t operations)
{
	struct churn *churn = arg;

	share_nothing(churn);
	objects_are_back(&churn->before, param_u64("settle_ms"));
	churn->operations = operations;
	if (slab_open(&churn->slab)) {
		slab_drop_caches();
		slab_looks(churn);
	}
}

/*
 * One more open file of each DRM device. The last file that is closed of a display restores the console's mode, and that
 * waits for the next vertical blank where the driver has the core's vblank timer (drivers/gpu/drm/drm_vblank_helper.c, 7.2).
 */
static unsigned int hold(const struct churn *churn, int held[2 * DEVICES])
{
	unsigned int count = 0;

	for (unsigned int at = 0; at < churn->exporter_count + churn->importer_count; at++) {
		const char *address = at < churn->exporter_count ? churn->exporters[at] :
				      churn->importers[at - churn->exporter_count];

		if (address_is(address, "drm"))
			held[count++] = drm_open(address);
	}
	return count;
}

/*
 * `times` turns, in each of which every exporter makes a buffer and every importer is given one; the pairs change from turn to
 * turn, so that in as many turns as there are importers all have met. What one pair loses each time is not lost here among the
 * operations of the others. Where that takes too long it ends before; how many turns there were. `keep` has the first exporter
 * lose a file with each, on purpose.
 */
static uint64_t walk(struct churn *churn, uint64_t times, bool keep)
{
	uint64_t limit = now_ns() + WALK_MS * 1000000ull, turns = 0;
	unsigned int most = churn->exporter_count > churn->importer_count ? churn->exporter_count :
									    churn->importer_count;
	int held[2 * DEVICES];
	unsigned int holds = hold(churn, held);

	for (; turns < times && (turns < TURNS_MIN || now_ns() < limit); turns++) {
		for (unsigned int at = 0; at < most; at++) {
			unsigned int from = at % churn->exporter_count;
			unsigned int to = (at + turns) % churn->importer_count;
			const char *importer = churn->importers[to];
			struct import import;
			size_t size = is_video(importer) ? FRAME_BYTES : 4096;
			int fd = export(churn, churn->exporters[from], &size);

			if (!churn->barred[from][to]) {
				import_new(churn, &import, importer, fd);
				drop(&import);
			}
			close(fd);
			if (keep && at == 0)
				check(eventfd(0, EFD_CLOEXEC) >= 0, "eventfd: %s", errname(errno));
		}
	}
	while (holds--)
		close(held[holds]);
	return turns;
}

/*
 * The cache that has grown most since the last time, if by more than `allowed` objects; NULL: none has. What is freed late
 * has time to go.
 */
static const struct slab_cache *slab_over(struct churn *churn, int64_t allowed, int64_t *grown,
					  uint64_t settle_ms)
{
	struct patience patience = { .left_ns = settle_ms * 1000000 };
	const struct slab_cache *most;

	slab_mark(&churn->slab);
	slab_drop_caches();
	for (;;) {
		slab_look(&churn->slab);
		most = slab_grown(&churn->slab, grown);
		if (*grown <= allowed || !patience.left_ns)
			break;
		patience_wait(&patience, 100000);
		slab_drop_caches();
	}
	slab_looks(churn);	/* which the next ones begin from */
	most = slab_grown(&churn->slab, grown);
	return *grown > allowed ? most : NULL;
}

static void slab_is_level(const struct slab_cache *over, int64_t grown, int64_t allowed,
			  const char *in)
{
	check(!over, "slab cache %s has grown by %lld objects of %llu bytes in %s, at most %lld are no leak",
	      over->name, (long long)grown, (unsigned long long)over->bytes, in, (long long)allowed);
}

/*
 * What caches hold after the second half of the churn. What grew once may be another program's: a leak is what grows in
 * another half again, here and in the pairs' turns.
 */
static void slab_check_churn(struct churn *churn, uint64_t operations, uint64_t settle_ms)
{
	int64_t allowed = SLAB_SLACK + (int64_t)(operations / SLAB_OPERATIONS), grown;
	const struct slab_cache *over = slab_over(churn, allowed, &grown, settle_ms);
	double bytes;
	char in[64];

	if (over) {
		slab_suspect(&churn->slab, allowed);
		operations = stress_again((unsigned int)param_u64("workers"), share_at_random, churn);
		share_nothing(churn);
		objects_are_back(&churn->before, settle_ms);
		allowed = SLAB_SLACK + (int64_t)(operations / SLAB_OPERATIONS);
		over = slab_over(churn, allowed, &grown, settle_ms);
		slab_suspect_all(&churn->slab);
	}
	snprintf(in, sizeof(in), "%llu operations", (unsigned long long)operations);
	info("slab_most", "%lld in %s, %lld allowed", (long long)grown, in, (long long)allowed);
	slab_is_level(over, grown, allowed, in);
	bytes = (double)slab_growth_bytes(&churn->slab);
	sample("slab_growth", bytes / (double)(operations ? operations : 1), "B/op", "stress");
}

/* What caches hold after each pair's turns. */
static void slab_check_pairs(struct churn *churn, uint64_t settle_ms)
{
	uint64_t times = param_u64("times"), keep = param_u64("keep_in_turns");
	uint64_t turns = walk(churn, times, keep);
	int64_t grown;
	const struct slab_cache *over = slab_over(churn, TURNS_ALLOWED, &grown, settle_ms);
	char in[64];

	if (over) {
		slab_suspect(&churn->slab, TURNS_ALLOWED);
		turns = walk(churn, times, keep);
		over = slab_over(churn, TURNS_ALLOWED, &grown, settle_ms);
	}
	snprintf(in, sizeof(in), "%llu turns of pairs", (unsigned long long)turns);
	info("slab_most_in_turns", "%lld in %s, %d allowed", (long long)grown, in, TURNS_ALLOWED);
	slab_is_level(over, grown, TURNS_ALLOWED, in);
	sample("pair_buffers", (double)turns / churn->importer_count, "count", "turns");
}

static void slab_check(struct churn *churn, uint64_t operations, uint64_t settle_ms)
{
	info("slab", "%s", churn->slab.count ? "told" : "untold");
	if (!churn->slab.count) {
		sample_absent("slab_growth", "needs root, /proc/slabinfo and /sys/kernel/slab");
		return;
	}
	if (param_u64("keep_in_turns")) {	/* what the churn left is not asked for then */
		slab_mark(&churn->slab);
		slab_looks(churn);
	} else {
		slab_check_churn(churn, operations, settle_ms);
	}
	slab_check_pairs(churn, settle_ms);
	slab_close(&churn->slab);
}

CASE(share_churn, "Threads export, import and close buffers of all devices at random, and leak nothing",
     .timeout_ms = 120000, .needs = "smp",
     .params = "exporters=udmabuf importers=drm:vgem seed=1 ms=500 rounds=0 workers=4 leak=0 "
	       "times=256 but=none keep_files=0 keep_in_turns=0 settle_ms=5000")
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
	bar(shared, param_str("but"));
	pthread_mutex_init(&shared->video, NULL);
	shared->keep_files = param_u64("keep_files");
	shared->before = bufinfo();
	window_begin();
	operations = stress_halves((unsigned int)param_u64("workers"), share_at_random, shared, halfway);
	share_nothing(shared);
	window_end("churn");
	/* On purpose, for the control: a descriptor that nobody closes keeps the buffer. */
	for (uint64_t i = 0; i < leaks; i++)
		buffer_open(shared->exporters[0], 4096);
	objects_are_back(&shared->before, settle_ms);
	slab_check(shared, operations - shared->operations, settle_ms);
	objects_are_back(&shared->before, settle_ms);
	info("imports", "%llu", (unsigned long long)shared->imports);
	info("refusals", "%llu", (unsigned long long)shared->refusals);
	forget(shared->exporters, shared->exporter_count);
	forget(shared->importers, shared->importer_count);
	free(shared);
}
