/* SPDX-License-Identifier: MIT */
/* What counters.c and the sources of counters share; the rest of the harness uses harness.h. */
#ifndef FARM_COUNTER_H
#define FARM_COUNTER_H

#include "harness.h"

struct perf_event_attr;

/*
 * One way to count, named by the first word of a spec ("tp:" in "tp:iommu:map"); in a file of its
 * own, and listed in counters.c.
 */
struct counter_source {
	const char *prefix;
	const char *form;	/* of the whole spec, as an error shows it */
	/* Opens what stands behind the prefix, or calls counter_set_absent(). */
	void (*open)(size_t counter, const char *what);
	/* Reads its counters: value and valid of each. Those that perf.c reads have none. */
	void (*read)(struct reading *reading);
	/* Forgets all that it opened. */
	void (*close)(void);
};

extern const struct counter_source source_tracepoint, source_kprobe, source_software,
	source_hardware, source_interrupt;

/* The counter cannot be had, and why. */
void counter_set_absent(size_t counter, const char *fmt, ...) FARM_PRINTF(2, 3);
/* The spec's text is not of its source's form. */
void counter_malformed(size_t counter, const struct counter_source *source, const char *what);
bool counter_is_of(size_t counter, const struct counter_source *source);

/* --- perf.c: events that perf counts, in groups --------------------------------------------------- */

void perf_begin(void);
/* Has `attr` counted on every CPU under this counter; 0 or -errno. */
int perf_add(size_t counter, struct perf_event_attr *attr);
/* The same, and says why not. */
void perf_open(size_t counter, struct perf_event_attr *attr, const char *what);
void perf_absent(size_t counter, int err, const char *what);
/* Starts all of them together, once every one is open. */
void perf_start(void);
/* Reads the groups of the CPU's own events, or all others. */
void perf_read(struct reading *reading, bool hardware);
void perf_close(void);

#endif
