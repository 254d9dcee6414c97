/* SPDX-License-Identifier: MIT */
/* Looks at perf's counters from within a case, around what timing.h does to them. */
#include "counter.h"
#include "runner.h"
#include "timing.h"

#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAUSED, KEPT };

static void fault(void)
{
	const size_t size = 1 << 20;
	char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(pages != MAP_FAILED, "mmap: %s", errname(errno));
	memset(pages, 1, size);
	munmap(pages, size);
}

static void tell(const char *when)
{
	static struct reading now;

	memset(&now, 0, sizeof(now));
	perf_read(&now, false);
	info(when, "%lld %lld", (long long)now.value[PAUSED], (long long)now.value[KEPT]);
}

static void add(size_t counter, enum perf_kind kind)
{
	struct perf_event_attr faults = {
		.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_PAGE_FAULTS,
	};
	int err = perf_add(counter, &faults, kind, NULL, NULL);

	if (err)
		skip("perf_event_open: %s", errname(err));
}

CASE(pausing, "Takes page faults before, while and after counters pause", .params = "leader=kept")
{
	perf_begin();
	if (param_is("leader", "kept"))
		add(KEPT, PERF_KEPT);
	add(PAUSED, PERF_PAUSED);
	if (!param_is("leader", "kept"))
		add(KEPT, PERF_KEPT);
	perf_start();
	tell("started");
	fault();
	tell("counted");
	timing_begin();
	check(perf_is_paused(), "it says that nothing is paused");
	tell("paused");
	fault();
	tell("timed");
	timing_end();
	check(!perf_is_paused(), "it says that something is paused");
	fault();
	tell("again");
	perf_close();
}

static void counted(const char *phase)
{
	window_begin();
	fault();
	window_end(phase);
}

/*
 * Writes the block that a harness with counters `kept`, `pausing` and `left` would write of a case that
 * takes times `when`. What its windows sample is in this case's own block.
 */
CASE(pausing_block, "Takes times in a case that is counted, and tells what that leaves of the counts",
     .params = "when=between")
{
	static char kept[] = "kept=sw:2", pausing[] = "pausing=sw:2", left[] = "left=balance:pausing-kept";
	static char *const specs[] = { kept, pausing, left };
	static struct reading begin, end;
	struct run_request request = { .id = "1", .name = "pausing_block" };
	struct ending ending = { .outcome = FARM_PASS, .detail = "" };
	struct report *report = report_new();
	struct process process = { 0 };
	struct text out = { 0 };
	size_t samples;

	counters_open(specs, ARRAY_SIZE(specs), &out);
	out.used = 0;
	add(1, PERF_PAUSED);		/* one more for `pausing`: kprobes would be such */
	source_balance.open(2, "pausing-kept");
	if (param_is("when", "before"))
		timing_begin();
	counters_begin(&begin, SCOPE_CASE);
	counted("first");
	if (param_is("when", "between")) {
		timing_begin();
		fault();
		timing_end();
	}
	counted("again");
	if (param_is("when", "meanwhile")) {
		window_begin();
		fault();
		perf_pause();	/* as another process of the case would */
		perf_start();
		window_end("overlapped");
	} else if (param_is("when", "around")) {
		timing_begin();
		counted("paused");
		timing_end();
	} else if (param_is("when", "until-its-end")) {
		timing_begin();
	}
	counters_end(&end, SCOPE_CASE);
	block_begin(&out, case_find(request.name), &request);
	samples = block_body(&out, &request, &process, report, &begin, &end);
	counters_write_leaks(&begin, &end, &out);
	block_end(&out, &request, &ending, samples);
	check(text_flush(&out, STDOUT_FILENO), "nobody reads this block");
	perf_close();
}
