/* SPDX-License-Identifier: MIT */
/* Looks at perf's counters from within a case, around what timing.h does to them. */
#include "counter.h"
#include "timing.h"

#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>

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
