/* SPDX-License-Identifier: MIT */
/* Writes a case's block: what it printed, told and counted, and its verdict. */
#include "runner.h"

#include <stdio.h>
#include <string.h>

#define OUTPUT_LINE_MAX 1000u

void block_begin(struct text *out, const struct farm_case *test, const struct run_request *request)
{
	text_add(out, "KTAP version 1\n1..1\n# case name=%s id=%s hash=%s\n", request->name,
		 request->id, case_hash(test));
}

static void write_output(struct text *out, const struct process *process)
{
	const char *line = process->output.bytes, *end = line + process->output.used;

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;

		text_add(out, "# output ");
		text_add_escaped(out, line, (size_t)(stop - line), OUTPUT_LINE_MAX);
		text_add(out, "\n");
		line = stop + 1;
	}
	if (process->output_lost)
		text_add(out, "# output [%zu bytes more]\n", process->output_lost);
}

/*
 * Why counters are absent from this block; empty for those that counted everywhere. Counters of one
 * name are absent together, as a sum over some of them would be too little: the first has the reason.
 */
static char absences[COUNTERS_MAX][REASON_MAX_BYTES];
static bool any_lost;	/* one that counts is absent from this block */

static void note_absence(size_t counter, const char *reason)
{
	char *known = absences[counter_first(counter)];

	if (!*known)
		snprintf(known, REASON_MAX_BYTES, "%s", reason);
}

static const char *absence_of(size_t counter)
{
	return absences[counter_first(counter)];
}

/*
 * A counter that could not be trusted in one window is absent from the whole block: what the other
 * windows of the same phase counted would add up to too little. What paused between windows did count
 * in each of them: it is absent from the whole case only, see write_paused().
 */
static void find_absences(const struct report *report, const struct reading *begin,
			  const struct reading *end)
{
	char text[REASON_MAX_BYTES * 2];
	enum record_kind kind;
	size_t cursor = 0, counter;

	any_lost = false;
	for (size_t i = 0; i < counters_count(); i++)
		absences[i][0] = '\0';
	for (size_t i = 0; i < counters_count(); i++) {
		size_t first = counter_first(i);
		char reason[REASON_MAX_BYTES];
		double value;

		any_lost |= first != i && (counter_absent(i) || counter_absent(first));
		if (counter_absent(i)) {
			note_absence(i, counter_absent(i));
		} else if (!counter_value(i, begin, end, &value, reason, sizeof(reason)) &&
			   !counter_paused(i, begin, end)) {
			any_lost = true;
			note_absence(i, reason);
		}
	}
	while (report_next(report, &cursor, &kind, text, sizeof(text))) {
		char *blank = strchr(text, ' ');

		if (kind == RECORD_ABSENT && blank) {
			*blank = '\0';
			any_lost = true;
			if (counter_find(text, &counter))
				note_absence(counter, blank + 1);
		}
	}
}

/* Whether "name=NAME …" is a sample of a counter that is absent. */
static bool is_of_absent(const char *sample)
{
	for (size_t i = 0; any_lost && i < counters_count(); i++) {
		size_t length = strlen(counter_name(i));

		if (*absence_of(i) && !strncmp(sample, "name=", 5) &&
		    !strncmp(sample + 5, counter_name(i), length) && sample[5 + length] == ' ')
			return true;
	}
	return false;
}

static void write_absence(struct text *out, const char *name, const char *reason)
{
	text_add(out, "# absent counter=%s reason=", name);
	text_add_escaped(out, reason, strlen(reason), REASON_MAX_BYTES);
	text_add(out, "\n");
}

/* What the case told, in its order; returns the number of samples. */
static size_t write_records(struct text *out, const struct report *report)
{
	char text[REASON_MAX_BYTES * 2];
	enum record_kind kind;
	size_t cursor = 0, samples = 0;

	while (report_next(report, &cursor, &kind, text, sizeof(text))) {
		if (kind == RECORD_SAMPLE && !is_of_absent(text)) {
			text_add(out, "# sample ");
			text_add_escaped(out, text, strlen(text), sizeof(text));
			text_add(out, " seq=%zu\n", samples++);
		} else if (kind == RECORD_INFO) {
			text_add(out, "# info ");
			text_add_escaped(out, text, strlen(text), sizeof(text));
			text_add(out, "\n");
		} else if (kind == RECORD_ABSENT) {
			char *blank = strchr(text, ' ');
			size_t counter;

			if (!blank)
				continue;
			*blank = '\0';
			if (!counter_find(text, &counter))	/* else write_counters() says it */
				write_absence(out, text, blank + 1);
		}
	}
	return samples;
}

/*
 * In one line, in place of their samples: a case that takes times may do so between any of its windows, and
 * so most of what is counted pauses.
 */
static void write_paused(struct text *out, const struct reading *begin, const struct reading *end)
{
	const char *before = "# absent counter=paused reason=while times were taken, and so not counted "
			     "for the whole case: ";

	for (size_t i = 0; i < counters_count(); i++) {
		if (counter_first(i) != i || *absence_of(i) || !counter_paused(i, begin, end))
			continue;
		text_add(out, "%s%s", before, counter_name(i));
		before = ", ";
	}
	if (before[0] == ',')
		text_add(out, "\n");
}

static size_t write_counters(struct text *out, const struct run_request *request,
			     const struct reading *begin, const struct reading *end, size_t samples)
{
	text_add(out, "# sample name=wall value=%llu unit=ns phase=case seq=%zu\n",
		 (unsigned long long)(end->wall_ns - begin->wall_ns), samples++);
	for (size_t i = 0; i < counters_count(); i++) {
		char reason[REASON_MAX_BYTES], number[32];
		double value;

		if (*absence_of(i)) {
			if (counter_first(i) == i && !(request->absences_told && counter_absent(i)))
				write_absence(out, counter_name(i), absence_of(i));
		} else if (counter_value(i, begin, end, &value, reason, sizeof(reason))) {
			format_number(value, number, sizeof(number));
			text_add(out, "# sample name=%s value=%s unit=%s phase=case%s%s seq=%zu\n",
				 counter_name(i), number, counter_unit(i),
				 *counter_of(i) ? " of=" : "", counter_of(i), samples++);
		}
	}
	write_paused(out, begin, end);
	return samples;
}

size_t block_body(struct text *out, const struct run_request *request, const struct process *process,
		  const struct report *report, const struct reading *begin,
		  const struct reading *end)
{
	write_output(out, process);
	find_absences(report, begin, end);
	return write_counters(out, request, begin, end, write_records(out, report));
}

void block_end(struct text *out, const struct run_request *request, const struct ending *end,
	       size_t samples)
{
	static const char *const words[] = {
		[FARM_NONE] = "error", [FARM_PASS] = "pass",   [FARM_FAIL] = "fail",
		[FARM_SKIP] = "skip",  [FARM_ERROR] = "error",
	};
	bool ok = !end->timed_out && (end->outcome == FARM_PASS || end->outcome == FARM_SKIP);

	text_add(out, "%s 1 %s", ok ? "ok" : "not ok", request->name);
	if (ok && end->outcome == FARM_SKIP)
		text_add(out, " # SKIP ");
	else if (!ok)
		text_add(out, " # ");
	if (!ok || end->outcome == FARM_SKIP)
		text_add_escaped(out, end->reason, strlen(end->reason), sizeof(end->reason));
	text_add(out, "\n# outcome %s%s%s\n# end id=%s samples=%zu\n",
		 end->timed_out ? "timeout" : words[end->outcome], *end->detail ? " " : "",
		 end->detail, request->id, samples);
}
