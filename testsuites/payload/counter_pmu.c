/* SPDX-License-Identifier: MIT */
/*
 * "pmu:DEVICE:EVENT": an event of a PMU in /sys/bus/event_source/devices, by the name that its driver
 * gives it. DEVICE may be a pattern ("smmuv3_pmcg_*"): each device then counts for itself.
 *
 * What an event's name stands for is written in its own file ("event=0x2"), and where each of these
 * words goes in the PMU's format folder ("config:0-15"); Documentation/ABI/testing/
 * sysfs-bus-event_source-devices-{events,format}, 6.12. PMUs outside the CPUs name in `cpumask` the
 * CPU that they are read on.
 */
#include "counter.h"

#include <glob.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "/sys/bus/event_source/devices"
#define PMUS_MAX 64

static struct {
	char name[NAME_MAX_BYTES];
	struct cpu_list where;
} pmus[PMUS_MAX];
static size_t pmu_total;

static ssize_t read_below(const char *device, const char *folder, const char *name, char *text,
			  size_t size)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%.63s%s/%.63s", FOLDER, device, folder, name);
	return read_file_raw(path, text, size);
}

/* The CPUs that a PMU is read on; NULL: every one. */
static const struct cpu_list *cpus_of(const char *device)
{
	struct cpu_list list;
	char text[256];

	for (size_t i = 0; i < pmu_total; i++)
		if (!strcmp(pmus[i].name, device))
			return &pmus[i].where;
	if (pmu_total == PMUS_MAX || read_below(device, "", "cpumask", text, sizeof(text)) <= 0 ||
	    !perf_parse_cpus(text, &list))
		return NULL;
	snprintf(pmus[pmu_total].name, sizeof(pmus[pmu_total].name), "%s", device);
	pmus[pmu_total].where = list;
	return &pmus[pmu_total++].where;
}

/* Puts a value into the bits that a format says, such as "config1:0-31" or "config:0-7,32-35". */
static bool place(struct perf_event_attr *attr, const char *format, uint64_t value)
{
	const char *next = strchr(format, ':');
	uint64_t config = 0;

	if (!next)
		return false;
	do {
		char *end;
		unsigned long low = strtoul(next + 1, &end, 10), high = low;

		if (*end == '-')
			high = strtoul(end + 1, &end, 10);
		for (unsigned long bit = low; bit <= high && bit < 64; bit++, value >>= 1)
			config |= (value & 1) << bit;
		next = end;
	} while (*next == ',');
	if (!strncmp(format, "config:", 7))
		attr->config |= config;
	else if (!strncmp(format, "config1:", 8))
		attr->config1 |= config;
	else if (!strncmp(format, "config2:", 8))
		attr->config2 |= config;
	else
		return false;
	return true;
}

/* "event=0x2,inv" into the attributes. */
static bool translate(const char *device, char *words, struct perf_event_attr *attr)
{
	char *save = NULL, format[64];

	for (char *word = strtok_r(words, ",\n", &save); word; word = strtok_r(NULL, ",\n", &save)) {
		char *equals = strchr(word, '=');
		uint64_t value = equals ? strtoull(equals + 1, NULL, 0) : 1;

		if (equals)
			*equals = '\0';
		if (!is_token(word, "_") ||
		    read_below(device, "/format", word, format, sizeof(format)) <= 0 ||
		    !place(attr, format, value))
			return false;
	}
	return true;
}

static void open_on(size_t counter, const char *device, const char *event)
{
	struct perf_event_attr attr = { 0 };
	const struct cpu_list *where = cpus_of(device);
	char text[128];
	ssize_t got;
	int err;

	if (read_below(device, "", "type", text, sizeof(text)) <= 0) {
		counter_set_absent(counter, "PMU %.60s has no type", device);
		return;
	}
	attr.type = (uint32_t)strtoul(text, NULL, 10);
	got = read_below(device, "/events", event, text, sizeof(text));
	if (got <= 0) {
		counter_set_absent(counter, "PMU %.60s has no event %.60s: %s", device, event,
				   errname((int)got));
		return;
	}
	if (!translate(device, text, &attr)) {
		counter_set_absent(counter, "event %.60s of PMU %.60s has words that it does not explain",
				   event, device);
		return;
	}
	err = perf_add(counter, &attr, where ? PERF_KEPT : PERF_CPU, where, NULL);
	if (err)
		perf_absent(counter, err, event);
}

static void open_pmu(size_t counter, const char *what)
{
	const char *event = strchr(what, ':');
	char pattern[256];
	glob_t found;

	if (!event || event - what >= NAME_MAX_BYTES || !is_token(what, "_-.*?:") ||
	    !is_token(event + 1, "_-.") || strlen(event + 1) >= NAME_MAX_BYTES) {
		counter_malformed(counter, &source_pmu, what);
		return;
	}
	snprintf(pattern, sizeof(pattern), "%s/%.*s", FOLDER, (int)(event - what), what);
	if (glob(pattern, 0, NULL, &found)) {
		counter_set_absent(counter, "no such PMU: nothing matches %.120s", pattern);
		return;
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *device = strrchr(found.gl_pathv[i], '/') + 1;
		size_t one = counter;

		if (!i)
			counter_set_of(counter, device);
		else if (!counter_add_of(counter, device, &one))
			break;
		open_on(one, device, event + 1);
	}
	globfree(&found);
}

static void close_pmus(void)
{
	pmu_total = 0;
}

const struct counter_source source_pmu = {
	.prefix = "pmu:", .form = "pmu:DEVICE:EVENT", .open = open_pmu, .close = close_pmus,
};
