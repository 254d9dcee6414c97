/* SPDX-License-Identifier: MIT */
/*
 * Counters around a case: opened once from specs, read at the ends of cases and windows.
 *
 * How each is counted is up to its source; see counter.h. A count that the kernel multiplexed is
 * given as absent.
 */
#include "counter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REASON_BYTES 256

static const struct counter_source *const sources[] = {
	&source_tracepoint, &source_kprobe, &source_software, &source_hardware, &source_interrupt,
};

struct counter {
	char name[NAME_MAX_BYTES];
	char absent[REASON_BYTES];	/* empty when it is open */
	const char *unit;
	const struct counter_source *source;
};

static struct counter counters[COUNTERS_MAX];
static size_t counter_total;

size_t counters_count(void)
{
	return counter_total;
}

const char *counter_name(size_t index)
{
	return counters[index].name;
}

const char *counter_unit(size_t index)
{
	return counters[index].unit;
}

const char *counter_absent(size_t index)
{
	return counters[index].absent[0] ? counters[index].absent : NULL;
}

bool counter_is_of(size_t index, const struct counter_source *source)
{
	return counters[index].source == source && !counters[index].absent[0];
}

/* --- opening --------------------------------------------------------------------------------------- */

void counter_set_absent(size_t index, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(counters[index].absent, sizeof(counters[index].absent), fmt, args);
	va_end(args);
}

void counter_malformed(size_t index, const struct counter_source *source, const char *what)
{
	counter_set_absent(index, "'%s%.80s' is not %s", source->prefix, what, source->form);
}

static void close_all(void)
{
	perf_close();
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i]->close)
			sources[i]->close();
	counter_total = 0;
	memset(counters, 0, sizeof(counters));
}

static void open_spec(size_t index, const char *spec)
{
	char known[160];
	size_t used = 0;

	counters[index].unit = "count";
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		size_t length = strlen(sources[i]->prefix);

		if (!strncmp(spec, sources[i]->prefix, length)) {
			counters[index].source = sources[i];
			sources[i]->open(index, spec + length);
			return;
		}
		used += (size_t)snprintf(known + used, sizeof(known) - used, " %s",
					 sources[i]->prefix);
	}
	counter_set_absent(index, "unknown source '%.60s', expected one of%s", spec, known);
}

static bool is_taken(const char *name)
{
	for (size_t i = 0; i < counter_total; i++)
		if (!strcmp(counters[i].name, name))
			return true;
	return !strcmp(name, "wall");	/* always sampled */
}

static void refuse_spec(struct text *out, const char *spec, const char *why)
{
	text_add(out, "error counter '");
	text_add_escaped(out, spec, strlen(spec), 80);
	text_add(out, "' %s\n", why);
}

void counters_open(char *const *specs, size_t count, struct text *out)
{
	close_all();
	perf_begin();
	for (size_t i = 0; i < count; i++) {
		char *equals = strchr(specs[i], '=');
		size_t length = equals ? (size_t)(equals - specs[i]) : 0;
		char name[NAME_MAX_BYTES];
		struct counter *counter;

		snprintf(name, sizeof(name), "%.*s", (int)length, specs[i]);
		if (!length || length >= NAME_MAX_BYTES || !is_token(name, "_.-")) {
			refuse_spec(out, specs[i], "is not NAME=SOURCE");
			continue;
		}
		if (is_taken(name)) {
			refuse_spec(out, specs[i], "has a name that is taken");
			continue;
		}
		if (counter_total == COUNTERS_MAX) {
			refuse_spec(out, specs[i], "is one too many");
			continue;
		}
		counter = &counters[counter_total];
		strcpy(counter->name, name);
		open_spec(counter_total++, equals + 1);
		text_add(out, "counter %s ", counter->name);
		if (counter->absent[0]) {
			text_add(out, "absent ");
			text_add_escaped(out, counter->absent, strlen(counter->absent), REASON_BYTES);
			text_add(out, "\n");
		} else {
			text_add(out, "ok\n");
		}
	}
	perf_start();
}

/* --- reading --------------------------------------------------------------------------------------- */

static void read_sources(struct reading *reading)
{
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i]->read)
			sources[i]->read(reading);
}

/* The CPU's own counters and the clock come last, so as not to count the reading of the others. */
void counters_begin(struct reading *reading)
{
	memset(reading, 0, sizeof(*reading));
	read_sources(reading);
	perf_read(reading, false);
	perf_read(reading, true);
	reading->wall_ns = now_ns();
}

/* The other way round: what the clock and the CPU's counters say is taken first. */
void counters_end(struct reading *reading)
{
	uint64_t now = now_ns();

	memset(reading, 0, sizeof(*reading));
	reading->wall_ns = now;
	perf_read(reading, true);
	perf_read(reading, false);
	read_sources(reading);
}

bool counter_delta(size_t index, const struct reading *begin, const struct reading *end,
		   uint64_t *value, char *reason, size_t size)
{
	uint64_t enabled = end->enabled_ns[index] - begin->enabled_ns[index];
	uint64_t running = end->running_ns[index] - begin->running_ns[index];

	if (!begin->valid[index] || !end->valid[index]) {
		snprintf(reason, size, "could not be read");
		return false;
	}
	if (running < enabled) {
		snprintf(reason, size, "multiplexed: it counted %llu of %llu us",
			 (unsigned long long)running / 1000, (unsigned long long)enabled / 1000);
		return false;
	}
	*value = end->value[index] - begin->value[index];
	return true;
}
