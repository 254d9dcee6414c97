/* SPDX-License-Identifier: MIT */
/* "kprobe:FUNCTION": calls of a kernel function, counted by perf's own kprobes. */
#include "counter.h"

#include <linux/perf_event.h>
#include <stdlib.h>

static void open_kprobe(size_t counter, const char *function)
{
	struct perf_event_attr attr = { 0 };
	char text[32];
	int err;

	if (!is_token(function, "_.")) {
		counter_malformed(counter, &source_kprobe, function);
		return;
	}
	if (read_file_raw("/sys/bus/event_source/devices/kprobe/type", text, sizeof(text)) <= 0) {
		counter_set_absent(counter, "this kernel has no kprobe events (CONFIG_KPROBE_EVENTS)");
		return;
	}
	attr.type = (uint32_t)strtoul(text, NULL, 10);
	attr.config1 = (uintptr_t)function;	/* kprobe_func; config2: offset 0 */
	err = perf_add(counter, &attr, PERF_PAUSED, NULL, NULL);
	if (err == -ENOENT || err == -EADDRNOTAVAIL || err == -EINVAL)
		counter_set_absent(counter, "this kernel has no function %.80s to probe: %s",
				   function, errname(err));
	else if (err)
		perf_absent(counter, err, function);
}

const struct counter_source source_kprobe = {
	.prefix = "kprobe:", .form = "kprobe:FUNCTION", .open = open_kprobe,
};
