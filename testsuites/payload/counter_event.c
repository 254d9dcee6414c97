/* SPDX-License-Identifier: MIT */
/* "sw:N" and "hw:N": perf's software events, and the CPU's own by their generic numbers. */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdio.h>

static void open_numbered(size_t counter, const struct counter_source *source, const char *number,
			  uint32_t type, const char *kind)
{
	struct perf_event_attr attr = { .type = type };
	uint64_t config;
	char what[48];

	if (!parse_u64(number, &config)) {
		counter_malformed(counter, source, number);
		return;
	}
	attr.config = config;
	snprintf(what, sizeof(what), "%s event %llu", kind, (unsigned long long)config);
	perf_open(counter, &attr, what);
}

static void open_software(size_t counter, const char *number)
{
	open_numbered(counter, &source_software, number, PERF_TYPE_SOFTWARE, "software");
}

static void open_hardware(size_t counter, const char *number)
{
	open_numbered(counter, &source_hardware, number, PERF_TYPE_HARDWARE, "hardware");
}

const struct counter_source source_software = {
	.prefix = "sw:", .form = "sw:NUMBER", .open = open_software,
};
const struct counter_source source_hardware = {
	.prefix = "hw:", .form = "hw:NUMBER", .open = open_hardware,
};
