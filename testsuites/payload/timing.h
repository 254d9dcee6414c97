/* SPDX-License-Identifier: MIT */
/* Times that mean something: warm, long enough for the clock, and of single calls with their tail. */
#ifndef FARM_TIMING_H
#define FARM_TIMING_H

#include <stddef.h>
#include <stdint.h>

/*
 * Between these two nothing that costs is counted: with every mapping, unmapping and IOMMU entry
 * counted, a map takes twice its time. Fences and CMA still are, since more made than freed is a leak.
 * Not within a window; whoever wants counts has a pass of their own for them, in windows: what pauses is
 * absent from the phase of the whole case.
 */
void timing_begin(void);
void timing_end(void);

/* What the clock can tell apart in ns: its smallest step, or what reading it costs if that is more. */
uint64_t clock_step_ns(void);

/*
 * Samples what a call of fn(arg) takes once it is warm, in `phase`: the median of 51 laps, each of as many
 * calls as it takes to be a hundred steps of the clock (so that a lap is resolved to 1 %), uncounted as
 * between timing_begin() and timing_end(). A lap is an average, which hides what a single call may take
 * at the longest, so it has no tail.
 */
void sample_calls(const char *name, const char *phase, void (*fn)(void *arg), void *arg);

/*
 * Sorts times of single calls and samples them in phases p50, p99 and max. Below 1000 values p99 would be one of
 * the few longest, by chance: then it is left out.
 */
void sample_tail(const char *name, uint64_t *ns, size_t count);

/* Samples sorted values as their distribution: quantiles from p0 to p100, denser where the tail is. */
void sample_distribution(const char *name, const uint64_t *sorted, size_t count);

#endif
