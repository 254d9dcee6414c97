/* SPDX-License-Identifier: MIT */
/* Workers with streams of decisions: see stress.h. */
#include "harness.h"
#include "stress.h"

#include <pthread.h>
#include <unistd.h>

#define WORKERS_MAX 64
#define FNV_BASIS 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

/* The workers of a case, in memory that its processes share. */
struct crew {
	int start[2];		/* pipe: its end is the signal to begin */
	void (*fn)(struct worker *worker);
	struct worker worker[WORKERS_MAX];
};

/* --- decisions ------------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ull;

	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
	return mixed ^ (mixed >> 31);
}

/* FNV-1a over the value's bytes. */
static void add_to_digest(uint64_t *digest, uint64_t value)
{
	for (int shift = 0; shift < 64; shift += 8)
		*digest = (*digest ^ ((value >> shift) & 0xff)) * FNV_PRIME;
}

bool next_round(struct worker *worker)
{
	if (worker->limit ? worker->rounds >= worker->limit
			  : worker->rounds >= STRESS_HEAD && now_ns() >= worker->until_ns)
		return false;
	worker->rounds++;
	return true;
}

uint32_t decide(struct worker *worker, uint32_t choices)
{
	uint32_t decision = (uint32_t)((next_random(&worker->stream) >> 32) * choices >> 32);

	if (worker->limit || worker->rounds <= STRESS_HEAD)
		add_to_digest(&worker->digest, decision);
	return decision;
}

/* --- workers --------------------------------------------------------------------------------------- */

/* A pipe whose end is the signal to begin. */
static void open_start(struct crew *crew)
{
	if (pipe(crew->start) < 0)
		broken("pipe: %s", errname(errno));
}

static struct crew *crew_new(unsigned int count, void (*fn)(struct worker *), void *arg)
{
	struct crew *crew = shared_memory(sizeof(*crew));
	uint64_t seed = param_u64("seed");

	if (!count || count > WORKERS_MAX)
		broken("%u workers, expected 1 to %d", count, WORKERS_MAX);
	crew->fn = fn;
	for (unsigned int i = 0; i < count; i++) {
		struct worker *worker = &crew->worker[i];
		uint64_t stream = seed;

		worker->crew = crew;
		worker->number = i;
		worker->arg = arg;
		worker->limit = param_u64("rounds");
		worker->digest = FNV_BASIS;
		/* Far apart: states that follow each other would give one stream, shifted. */
		worker->stream = next_random(&stream) ^ ((uint64_t)i << 40);
		worker->stream = next_random(&worker->stream);
	}
	return crew;
}

/* From here on the time counts. */
static uint64_t begin(struct crew *crew, unsigned int count, uint64_t ms)
{
	uint64_t now = now_ns(), until = now + ms * 1000000;

	for (unsigned int i = 0; i < count; i++)
		crew->worker[i].until_ns = until;
	close(crew->start[1]);
	return now;
}

static void work(struct worker *worker)
{
	char byte;

	if (read(worker->crew->start[0], &byte, 1) != 0)
		broken("worker %u was not told to begin: %s", worker->number, errname(errno));
	worker->crew->fn(worker);
}

static uint64_t operations_of(const struct crew *crew, unsigned int count)
{
	uint64_t operations = 0;

	for (unsigned int i = 0; i < count; i++)
		operations += crew->worker[i].operations;
	return operations;
}

static uint64_t tell(struct crew *crew, unsigned int count, uint64_t spent_ns)
{
	uint64_t operations = operations_of(crew, count), limit = crew->worker[0].limit;
	uint64_t digest = FNV_BASIS, rounds = 0;

	for (unsigned int i = 0; i < count; i++) {
		add_to_digest(&digest, crew->worker[i].digest);
		rounds += crew->worker[i].rounds;
	}
	if (!operations)
		broken("%u workers did nothing", count);
	info("seed", "%llu", (unsigned long long)param_u64("seed"));
	info("rounds", "%llu", (unsigned long long)rounds);
	info("operations", "%llu", (unsigned long long)operations);
	info("decided", "%llu", (unsigned long long)(limit ? limit : STRESS_HEAD));
	info("decisions", "%016llx", (unsigned long long)digest);
	sample("operations", (double)operations * 1e9 / (double)(spent_ns ? spent_ns : 1), "op/s",
	       "stress");
	shared_memory_free(crew, sizeof(*crew));
	return operations;
}

static void *thread_main(void *worker)
{
	work(worker);
	return NULL;
}

/* All workers as threads, for so long or up to their limits; the time that it took. */
static uint64_t run_threads(struct crew *crew, unsigned int count, uint64_t ms)
{
	pthread_t threads[WORKERS_MAX];
	uint64_t began;

	open_start(crew);
	for (unsigned int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, thread_main, &crew->worker[i]))
			broken("thread %u of %u cannot be made", i + 1, count);
	began = begin(crew, count, ms);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	close(crew->start[0]);
	return now_ns() - began;
}

uint64_t stress_threads(unsigned int count, void (*fn)(struct worker *), void *arg)
{
	struct crew *crew = crew_new(count, fn, arg);

	return tell(crew, count, run_threads(crew, count, param_u64("ms")));
}

static void limit_to(struct crew *crew, unsigned int count, uint64_t rounds)
{
	for (unsigned int i = 0; i < count; i++)
		crew->worker[i].limit = rounds;
}

uint64_t stress_halves(unsigned int count, void (*fn)(struct worker *), void *arg,
		       void (*between)(void *arg, uint64_t operations))
{
	struct crew *crew = crew_new(count, fn, arg);
	uint64_t ms = param_u64("ms"), rounds = param_u64("rounds"), spent;

	limit_to(crew, count, (rounds + 1) / 2);
	spent = run_threads(crew, count, ms / 2);
	between(arg, operations_of(crew, count));
	limit_to(crew, count, rounds);
	return tell(crew, count, spent + run_threads(crew, count, ms - ms / 2));
}

uint64_t stress_again(unsigned int count, void (*fn)(struct worker *), void *arg)
{
	struct crew *crew = crew_new(count, fn, arg);
	uint64_t operations;

	limit_to(crew, count, (param_u64("rounds") + 1) / 2);
	run_threads(crew, count, param_u64("ms") / 2);
	operations = operations_of(crew, count);
	shared_memory_free(crew, sizeof(*crew));
	return operations;
}

static void process_main(void *arg)
{
	struct worker *worker = arg;

	close(worker->crew->start[1]);	/* else it would never end */
	work(worker);
}

uint64_t stress_processes(unsigned int count, void (*fn)(struct worker *), void *arg)
{
	struct crew *crew = crew_new(count, fn, arg);
	pid_t pids[WORKERS_MAX];
	uint64_t began;

	open_start(crew);
	for (unsigned int i = 0; i < count; i++)
		pids[i] = spawn(process_main, &crew->worker[i]);
	began = begin(crew, count, param_u64("ms"));
	for (unsigned int i = 0; i < count; i++)
		join(pids[i]);
	close(crew->start[0]);
	return tell(crew, count, now_ns() - began);
}
