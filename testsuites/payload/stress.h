/* SPDX-License-Identifier: MIT */
/*
 * Stress with a seed: workers side by side, each with a stream of random decisions of its own.
 *
 *	static void churn(struct worker *worker)
 *	{
 *		while (next_round(worker)) {
 *			uint32_t device = decide(worker, 3), size = decide(worker, 8);
 *			...
 *			worker->operations++;
 *		}
 *	}
 *
 *	CASE(churn, "…", .needs = "smp", .params = "seed=1 ms=500 rounds=0 workers=4")
 *	{
 *		stress_threads((unsigned int)param_u64("workers"), churn, &what_they_share);
 *	}
 *
 * What a worker decides follows from `seed`, its number and how often it has decided, and from
 * nothing else: a worker must take the same decisions in each round whatever became of the last one.
 * `rounds` is how many each worker does; with 0 they go on for `ms`, and at least STRESS_HEAD rounds.
 */
#ifndef FARM_STRESS_H
#define FARM_STRESS_H

#include <stdbool.h>
#include <stdint.h>

#define STRESS_HEAD 8		/* rounds that each worker does, however long they take */

struct worker {
	unsigned int number;	/* 0, 1 … */
	void *arg;		/* what the case gave */
	uint64_t operations;	/* the worker counts what it did */
	uint64_t rounds;	/* begun so far; next_round() counts them */

	struct crew *crew;	/* this and the rest: of stress.c */
	uint64_t limit, until_ns, stream, digest;
};

/* Begins a round; false: it was the last one. */
bool next_round(struct worker *worker);
/* The worker's next decision: 0 … choices - 1. */
uint32_t decide(struct worker *worker, uint32_t choices);

/*
 * Runs fn in `count` threads or processes that begin together, waits for all of them and returns the
 * operations that they counted. The case declares seed=1 ms=500 rounds=0.
 *
 * Tells, beside the rate of operations (sample "operations" in op/s, phase "stress"):
 * info seed, rounds (of all workers), operations, decided (rounds of each worker that the digest is
 * over: all where `rounds` is given, else the first STRESS_HEAD), decisions (the digest: equal for
 * equal decisions).
 */
uint64_t stress_threads(unsigned int count, void (*fn)(struct worker *worker), void *arg);
uint64_t stress_processes(unsigned int count, void (*fn)(struct worker *worker), void *arg);

/*
 * The same with threads, in two halves: when all of them have come back from the first,
 * between(arg, operations so far) looks at what is there. Their decisions go on in the second.
 */
uint64_t stress_halves(unsigned int count, void (*fn)(struct worker *worker), void *arg,
		       void (*between)(void *arg, uint64_t operations));

/*
 * The first half's decisions once more, for a case that has seen something there that may have come from elsewhere. Tells
 * nothing; returns the operations.
 */
uint64_t stress_again(unsigned int count, void (*fn)(struct worker *worker), void *arg);

#ifndef FARM_HELPERS
#define stress_threads(...) FARM_AT(stress_threads(__VA_ARGS__))
#define stress_halves(...) FARM_AT(stress_halves(__VA_ARGS__))
#define stress_again(...) FARM_AT(stress_again(__VA_ARGS__))
#define stress_processes(...) FARM_AT(stress_processes(__VA_ARGS__))
#endif

#endif
