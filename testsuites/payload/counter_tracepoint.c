/* SPDX-License-Identifier: MIT */
/*
 * "tp:SYSTEM:EVENT" or "tp:SYSTEM:EVENT?FILTER": a kernel tracepoint, by its number in tracefs; where
 * a filter stands (Documentation/trace/events.rst, 6.12), only the events that it lets through.
 */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Balances (counter_evidence.c) need both of their sides whole. */
static bool is_for_balance(const char *system)
{
	return !strcmp(system, "dma_fence") || !strcmp(system, "cma");
}

static void open_tracepoint(size_t counter, const char *what)
{
	static const char *const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT };
	char path[256], text[32], event[2 * NAME_MAX_BYTES], system[NAME_MAX_BYTES];
	const char *colon, *filter = strchr(what, '?');
	ssize_t got = -ENOENT;
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
	for (size_t i = 0; i < ARRAY_SIZE(roots) && got < 0; i++) {
		snprintf(path, sizeof(path), "%s/events/%s/%.64s/id", roots[i], system, colon + 1);
		got = read_file_raw(path, text, sizeof(text));
	}
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
