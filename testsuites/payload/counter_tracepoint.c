/* SPDX-License-Identifier: MIT */
/*
 * "tp:SYSTEM:EVENT" or "tp:SYSTEM:EVENT?FILTER": a kernel tracepoint, by its number in tracefs; where
 * a filter stands (Documentation/trace/events.rst, 6.12), only the events that it lets through.
 *
 * perf drops a record over PERF_MAX_TRACE_SIZE, 8 KiB, before it counts it, warns once, and tells nobody
 * (perf_trace_buf_alloc(), kernel/trace/trace_event_perf.c, 6.12): an event whose records have no bound
 * would count 0 for the largest of what it is to count, so it is not counted at all.
 */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT_MAX 4096

/* Balances (counter_evidence.c) need both of their sides whole. */
static bool is_for_balance(const char *system)
{
	return !strcmp(system, "dma_fence") || !strcmp(system, "cma");
}

/*
 * Whether an event's "format" describes records of any length: arrays whose length each record says
 * ("__data_loc u64[] phys_addrs"), other than text. `truncated` says that they are cut (dma:dma_map_sg, 7.0 and 6.12.107:
 * DMA_TRACE_MAX_ENTRIES, include/trace/events/dma.h).
 */
bool tracepoint_is_unbounded(const char *format)
{
	static const char word[] = "__data_loc ", text[] = "char[]";

	if (strstr(format, " truncated;"))
		return false;
	for (const char *at = format; (at = strstr(at, word)); )
		if (strncmp(at += sizeof(word) - 1, text, sizeof(text) - 1))
			return true;
	return false;
}

/* Reads a file of an event: its length, or -errno. */
static ssize_t read_event(const char *system, const char *name, const char *file, char *text,
			  size_t size)
{
	static const char *const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	ssize_t got = -ENOENT;
	char path[256];

	for (size_t i = 0; i < ARRAY_SIZE(roots) && got < 0; i++) {
		snprintf(path, sizeof(path), "%s/events/%s/%.64s/%s", roots[i], system, name, file);
		got = read_file_raw(path, text, size);
	}
	return got;
}

static void open_tracepoint(size_t counter, const char *what)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT };
	char text[FORMAT_MAX], event[2 * NAME_MAX_BYTES], system[NAME_MAX_BYTES];
	const char *colon, *filter = strchr(what, '?');
	ssize_t got;
	int err;

	snprintf(event, sizeof(event), "%.*s", (int)strcspn(what, "?"), what);
	colon = strchr(event, ':');
	if (!colon || colon == event || colon - event >= NAME_MAX_BYTES ||
	    !is_token(event, "_-:") || !is_token(colon + 1, "_-")) {
		counter_malformed(counter, &source_tracepoint, what);
		return;
	}
	snprintf(system, sizeof(system), "%.*s", (int)(colon - event), event);
	if (access("/sys/kernel/tracing/events", F_OK) &&
	    access("/sys/kernel/debug/tracing/events", F_OK)) {
		counter_set_absent(counter, "tracefs at /sys/kernel/tracing: %s", errname(errno));
		return;
	}
	got = read_event(system, colon + 1, "format", text, sizeof(text));
	if (got > 0 && tracepoint_is_unbounded(text)) {
		counter_set_absent(counter, "%.80s has arrays of any length, and perf drops records over 8 KiB",
				   event);
		return;
	}
	got = read_event(system, colon + 1, "id", text, sizeof(text));
	if (got <= 0) {
		counter_set_absent(counter, "this kernel has no tracepoint %.120s: %s", event,
				   errname((int)got));
		return;
	}
	attr.config = strtoull(text, NULL, 10);
	err = perf_add(counter, &attr, is_for_balance(system) ? PERF_KEPT : PERF_PAUSED, NULL,
		       filter ? filter + 1 : NULL);
	if (err == -EINVAL && filter)
		counter_set_absent(counter, "this kernel's tracepoint %.80s has nothing like '%.60s'",
				   event, filter + 1);
	else if (err)
		perf_absent(counter, err, event);
}

const struct counter_source source_tracepoint = {
	.prefix = "tp:", .form = "tp:SYSTEM:EVENT[?FILTER]", .open = open_tracepoint,
};
