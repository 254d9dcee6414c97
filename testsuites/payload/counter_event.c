/* SPDX-License-Identifier: MIT */
/* "sw:N", "hw:N", "cache:N": what perf_event_open(2) has generic numbers for. */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdio.h>

static void open_numbered(size_t counter, const struct counter_source *source, const char *number,
			  uint32_t type, const char *kind)
{
	struct perf_event_attr attr = { .type = type };
	uint64_t config;
	char what[48];
	int err;

	if (!parse_u64(number, &config)) {
		counter_malformed(counter, source, number);
		return;
	}
	attr.config = config;
	snprintf(what, sizeof(what), "%s event %llu", kind, (unsigned long long)config);
	err = perf_add(counter, &attr, type == PERF_TYPE_SOFTWARE ? PERF_KEPT : PERF_CPU, NULL,
		       NULL);
	if (err)
		perf_absent(counter, err, what);
}

static void open_software(size_t counter, const char *number)
{
	open_numbered(counter, &source_software, number, PERF_TYPE_SOFTWARE, "software");
}

static void open_hardware(size_t counter, const char *number)
{
	open_numbered(counter, &source_hardware, number, PERF_TYPE_HARDWARE, "hardware");
}

static void open_cache(size_t counter, const char *number)
{
	open_numbered(counter, &source_cache, number, PERF_TYPE_HW_CACHE, "cache");
}

const struct counter_source source_software = {
	.prefix = "sw:", .form = "sw:NUMBER", .open = open_software,
};
const struct counter_source source_hardware = {
	.prefix = "hw:", .form = "hw:NUMBER", .open = open_hardware,
};
const struct counter_source source_cache = {
	.prefix = "cache:", .form = "cache:NUMBER", .open = open_cache,
};
