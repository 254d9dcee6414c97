/* SPDX-License-Identifier: MIT */
/*
 * Counters around a case: opened once from specs, read at the ends of cases and windows.
 *
 * How each is counted is up to its source; see counter.h. A count that the kernel multiplexed is
 * given as absent, and so is one that paused in between. What a case leaves behind shows in counters
 * whose source `settles`.
 */
#include "counter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REASON_BYTES 256
#define SETTLE_MS 2000

static const struct counter_source *const sources[] = {
	&source_tracepoint, &source_kprobe, &source_software, &source_hardware, &source_cache,
	&source_pmu, &source_interrupt, &source_device_interrupts, &source_level, &source_change,
	&source_bufinfo, &source_balance,
};

struct counter {
	char name[NAME_MAX_BYTES];
	char of[NAME_MAX_BYTES];	/* empty when the name says it all */
	char absent[REASON_BYTES];	/* empty when it is open */
	char unit[32];
	double scale;
	const struct counter_source *source;
	bool pauses;			/* while times are taken */
	size_t first;			/* of that name */
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

size_t counter_first(size_t index)
{
	return counters[index].first;
}

const char *counter_of(size_t index)
{
	return counters[index].of;
}

const char *counter_unit(size_t index)
{
	return counters[index].unit;
}

const char *counter_absent(size_t index)
{
	return counters[index].absent[0] ? counters[index].absent : NULL;
}

bool counter_is_in(size_t index, enum scope scope)
{
	const struct counter_source *source = counters[index].source;

	return scope == SCOPE_CASE || (source && !source->whole_case);
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

void counter_set_unit(size_t index, const char *unit, double scale)
{
	snprintf(counters[index].unit, sizeof(counters[index].unit), "%s", unit);
	counters[index].scale = scale;
}

void counter_set_of(size_t index, const char *of)
{
	snprintf(counters[index].of, sizeof(counters[index].of), "%s", of);
}

void counter_set_pauses(size_t index)
{
	counters[index].pauses = true;
}

bool counter_pauses(size_t index)
{
	return counters[index].pauses;
}

bool counter_add_of(size_t first, const char *of, size_t *index)
{
	if (counter_total == COUNTERS_MAX)
		return false;
	*index = counter_total++;
	counters[*index] = counters[first];
	counters[*index].absent[0] = '\0';
	counter_set_of(*index, of);
	return true;
}

bool counter_find(const char *name, size_t *index)
{
	for (*index = 0; *index < counter_total; ++*index)
		if (!strcmp(counters[*index].name, name))
			return true;
	return false;
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

	counter_set_unit(index, "count", 1);
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

/* Tries another way to count what could not be counted; if that is no way either, says both. */
static void open_otherwise(size_t index, const char *spec)
{
	struct counter *counter = &counters[index];
	char before[REASON_BYTES], now[REASON_BYTES];

	if (!counter->absent[0] || counter_total != index + 1)
		return;
	strcpy(before, counter->absent);
	counter->absent[0] = '\0';
	counter->source = NULL;
	counter_set_of(index, "");
	open_spec(index, spec);
	if (!counter->absent[0])
		return;
	strcpy(now, counter->absent);
	counter_set_absent(index, "%s; %s", before, now);
}

/* Whether another counter or the harness itself (block.c) tells something by that name. */
static bool is_taken(const char *name)
{
	size_t index;

	return counter_find(name, &index) || !strcmp(name, "wall") || !strcmp(name, "paused");
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
		counter->first = counter_total;
		strcpy(counter->name, name);
		open_spec(counter_total++, equals + 1);
		while (i + 1 < count && *specs[i + 1] == '|')
			open_otherwise((size_t)(counter - counters), specs[++i] + 1);
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

static void read_sources(struct reading *reading, enum scope scope, bool begin)
{
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i]->read && (scope == SCOPE_CASE || !sources[i]->whole_case) &&
		    !(begin && sources[i]->level))
			sources[i]->read(reading);
}

static void derive(struct reading *reading)
{
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i]->derive)
			sources[i]->derive(reading);
}

/* The CPU's own counters and the clock come last, so as not to count the reading of the others. */
void counters_begin(struct reading *reading, enum scope scope)
{
	memset(reading, 0, sizeof(*reading));
	if (scope == SCOPE_CASE && perf_is_paused())
		perf_start();	/* the case before ended before it had them count again */
	reading->pauses = perf_pauses_ended();
	read_sources(reading, scope, true);
	perf_read(reading, false);
	derive(reading);
	perf_read(reading, true);
	reading->wall_ns = now_ns();
}

/* The other way round: what the clock and the CPU's counters say is taken first. */
void counters_end(struct reading *reading, enum scope scope)
{
	uint64_t now = now_ns();

	memset(reading, 0, sizeof(*reading));
	reading->wall_ns = now;
	perf_read(reading, true);
	perf_read(reading, false);
	derive(reading);
	read_sources(reading, scope, false);
	reading->pauses = perf_pauses_begun();
}

bool counter_paused(size_t index, const struct reading *begin, const struct reading *end)
{
	return counters[index].pauses && begin->pauses != end->pauses;
}

bool counter_value(size_t index, const struct reading *begin, const struct reading *end,
		   double *value, char *reason, size_t size)
{
	const struct counter *counter = &counters[index];
	bool level = counter->source && counter->source->level;
	uint64_t enabled = end->enabled_ns[index] - begin->enabled_ns[index];
	uint64_t running = end->running_ns[index] - begin->running_ns[index];

	if ((!level && !begin->valid[index]) || !end->valid[index]) {
		snprintf(reason, size, "could not be read");
		return false;
	}
	if (running < enabled) {
		snprintf(reason, size, "multiplexed: it counted %llu of %llu us",
			 (unsigned long long)running / 1000, (unsigned long long)enabled / 1000);
		return false;
	}
	if (counter_paused(index, begin, end)) {
		snprintf(reason, size, "paused while times were taken");
		return false;
	}
	*value = (double)(end->value[index] - (level ? 0 : begin->value[index])) * counter->scale;
	return true;
}

/* --- what is left behind --------------------------------------------------------------------------- */

static bool is_left(size_t index, const struct reading *begin, const struct reading *end)
{
	const struct counter_source *source = counters[index].source;

	return source && source->settles && begin->valid[index] && end->valid[index] &&
	       !counter_paused(index, begin, end) && end->value[index] > begin->value[index];
}

static bool any_left(const struct reading *begin, const struct reading *end)
{
	for (size_t i = 0; i < counter_total; i++)
		if (is_left(i, begin, end))
			return true;
	return false;
}

/* Looks again at what settles, and at nothing else. */
static void look_again(struct reading *end)
{
	static struct reading now;

	memset(&now, 0, sizeof(now));
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i]->settles && sources[i]->read)
			sources[i]->read(&now);
	perf_read(&now, false);
	derive(&now);
	for (size_t i = 0; i < counter_total; i++) {
		if (counters[i].source && counters[i].source->settles) {
			end->value[i] = now.value[i];
			end->valid[i] = now.valid[i];
		}
	}
}

void counters_settle(const struct reading *begin, struct reading *end)
{
	struct patience patience = { .left_ns = SETTLE_MS * 1000000ull };
	unsigned int wait_ms = 1;

	while (any_left(begin, end) && patience.left_ns) {
		patience_wait(&patience, wait_ms * 1000);
		wait_ms = wait_ms < 64 ? wait_ms * 2 : wait_ms;
		look_again(end);
	}
}

void counters_write_leaks(const struct reading *begin, const struct reading *end, struct text *out)
{
	for (size_t i = 0; i < counter_total; i++) {
		char number[32], words[256] = "";

		if (!is_left(i, begin, end))
			continue;
		format_number((double)(end->value[i] - begin->value[i]) * counters[i].scale, number,
			      sizeof(number));
		if (counters[i].source->describe)
			counters[i].source->describe(i, words, sizeof(words));
		text_add(out, "# leak %s %s %s left after %u ms%s", counters[i].name, number,
			 counters[i].unit, SETTLE_MS, *words ? "; " : "");
		text_add_escaped(out, words, strlen(words), sizeof(words));
		text_add(out, "\n");
	}
}
