/* SPDX-License-Identifier: MIT */
/* Runs one case in a process of its own, judges how that ended, and writes its block. */
#include "runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static struct report *report;

void runner_init(void)
{
	process_init();
	report = report_new();
	kmsg_open();
	case_note_harness_fds();
}

static void conclude(const struct process *process, unsigned int limit_ms, int survivors,
		     struct ending *end)
{
	enum farm_outcome told = report_outcome(report);

	end->outcome = told;
	end->detail = "";
	report_reason(report, end->reason, sizeof(end->reason));
	if (process->timed_out) {
		end->timed_out = true;
		end->detail = "limit";
		snprintf(end->reason, sizeof(end->reason), "exceeded its limit of %u ms%s",
			 limit_ms, survivors < 0 ? ", and a process of it does not die" : "");
	} else if (WIFSIGNALED(process->status) && (told == FARM_NONE || told == FARM_PASS)) {
		end->outcome = FARM_ERROR;
		end->detail = "crash";
		snprintf(end->reason, sizeof(end->reason), "crashed: %s",
			 signal_name(WTERMSIG(process->status)));
	} else if (told == FARM_NONE) {
		end->outcome = FARM_ERROR;
		end->detail = "exit";
		snprintf(end->reason, sizeof(end->reason), "exited with status %d before its verdict",
			 WEXITSTATUS(process->status));
	} else if (told == FARM_PASS && survivors) {
		end->outcome = FARM_ERROR;
		end->detail = "process";
		if (survivors < 0)
			snprintf(end->reason, sizeof(end->reason), "left a process that does not die");
		else
			snprintf(end->reason, sizeof(end->reason), "left %d process%s running", survivors,
				 survivors > 1 ? "es" : "");
	} else if (told == FARM_PASS && !report_complete(report)) {
		end->outcome = FARM_ERROR;
		end->detail = "records";
		snprintf(end->reason, sizeof(end->reason), "told more than the harness can keep");
	}
}

static bool refuse(struct text *out, const struct farm_case *test,
		   const struct run_request *request, enum farm_outcome *outcome, const char *reason,
		   const char *detail)
{
	struct ending end = { .outcome = FARM_ERROR, .detail = detail };

	snprintf(end.reason, sizeof(end.reason), "%s", reason);
	block_begin(out, test, request);
	block_end(out, request, &end, 0);
	*outcome = FARM_ERROR;
	return true;
}

bool runner_run(const struct run_request *request, struct watch *watch, struct text *out,
		enum farm_outcome *outcome)
{
	static struct reading begin, end;
	const struct farm_case *test = case_find(request->name);
	struct ending ending = { 0 };
	struct process process;
	unsigned int limit_ms;
	size_t samples;
	int err, survivors;

	if (!test)
		return refuse(out, NULL, request, outcome, "this payload has no such case", "unknown");
	limit_ms = request->timeout_ms ? request->timeout_ms : case_timeout_ms(test);
	kmsg_mark();
	counters_begin(&begin, SCOPE_CASE);
	err = process_start(&process, test, request, report);
	if (err) {
		snprintf(ending.reason, sizeof(ending.reason), "the harness could not start it: %s",
			 errname(err));
		return refuse(out, test, request, outcome, ending.reason, "harness");
	}
	process_follow(&process, limit_ms, watch);
	survivors = process_reap(&process);
	counters_end(&end, SCOPE_CASE);
	if (survivors >= 0)	/* what does not die still holds what it has */
		counters_settle(&begin, &end);
	process_close(&process);
	if (!process.stopped) {
		conclude(&process, limit_ms, survivors, &ending);
		block_begin(out, test, request);
		samples = block_body(out, request, &process, report, &begin, &end);
		if (survivors >= 0)
			counters_write_leaks(&begin, &end, out);
		kmsg_report(out);
		block_end(out, request, &ending, samples);
		*outcome = ending.timed_out ? FARM_FAIL : ending.outcome;
	}
	free(process.output.bytes);
	if (survivors < 0)
		report = report_new();	/* what does not die must not write into the next report */
	else
		report_clear(report);
	return !process.stopped;
}
