/* SPDX-License-Identifier: MIT */
/* What counters.c and the sources of counters share; the rest of the harness uses harness.h. */
#ifndef FARM_COUNTER_H
#define FARM_COUNTER_H

#include "harness.h"

struct perf_event_attr;

#define CPUS_MAX 256

/*
 * One way to count, named by the first word of a spec ("tp:" in "tp:iommu:map"); in a file of its
 * own, and listed in counters.c.
 */
struct counter_source {
	const char *prefix;
	const char *form;	/* of the whole spec, as an error shows it */
	bool whole_case;	/* read around cases only, not around windows */
	bool level;		/* what is there at the end, and so read there only */
	bool settles;		/* more than before is a leak, once it had time to settle */
	/* Opens what stands behind the prefix, or calls counter_set_absent(). */
	void (*open)(size_t counter, const char *what);
	/* Reads its counters: value and valid of each. Those that perf.c reads have none. */
	void (*read)(struct reading *reading);
	/* The same, out of what other counters have in this reading. */
	void (*derive)(struct reading *reading);
	/* Says what is left behind, a few words; may be NULL. */
	void (*describe)(size_t counter, char *words, size_t size);
	/* Forgets all that it opened. */
	void (*close)(void);
};

extern const struct counter_source source_tracepoint, source_kprobe, source_software,
	source_hardware, source_cache, source_pmu, source_interrupt, source_device_interrupts,
	source_level, source_change, source_bufinfo, source_balance;

/* The counter cannot be had, and why. */
void counter_set_absent(size_t counter, const char *fmt, ...) FARM_PRINTF(2, 3);
/* The spec's text is not of its source's form. */
void counter_malformed(size_t counter, const struct counter_source *source, const char *what);
bool counter_is_of(size_t counter, const struct counter_source *source);
/* Its values are in this unit, each `scale` times what is read; unless said, 1 and "count". */
void counter_set_unit(size_t counter, const char *unit, double scale);
/* What it is of, where one name counts several things: a device, a file. */
void counter_set_of(size_t counter, const char *of);
/* It stands still while times are taken, so that what it counts around that is too little. */
void counter_set_pauses(size_t counter);
bool counter_pauses(size_t counter);
/* Another counter of the same name, for the next thing; false when there are too many. */
bool counter_add_of(size_t first, const char *of, size_t *counter);

/* Whether records of the event of this "format" may be too long for perf: counter_tracepoint.c. */
bool tracepoint_is_unbounded(const char *format);

/* --- perf.c: events that perf counts, in groups --------------------------------------------------- */

struct cpu_list {
	size_t count;
	int cpu[CPUS_MAX];
};

/* "0-3,8" → four CPUs and one more; false if it says nothing. */
bool perf_parse_cpus(const char *text, struct cpu_list *list);
void perf_begin(void);
/* The CPU's own events; others that go on counting while times are taken, and that do not. */
enum perf_kind { PERF_CPU, PERF_KEPT, PERF_PAUSED };
/*
 * Has `attr` counted on each of these CPUs (NULL: on all), where it fits `filter` (NULL: always).
 * 0 or -errno.
 */
int perf_add(size_t counter, struct perf_event_attr *attr, enum perf_kind kind,
	     const struct cpu_list *where, const char *filter);
void perf_absent(size_t counter, int err, const char *what);
/* Starts all of them together, once every one is open; and those that pause once more. */
void perf_start(void);
void perf_pause(void);
bool perf_is_paused(void);
/* How many pauses have begun, and how many of these have ended: one less while paused. */
uint32_t perf_pauses_begun(void);
uint32_t perf_pauses_ended(void);
/* Reads the groups of the CPU's own events, or all others. */
void perf_read(struct reading *reading, bool cpu_events);
void perf_close(void);

#endif
