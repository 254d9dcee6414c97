/* SPDX-License-Identifier: MIT */
#include "counter.h"
#include "buffer.h"
#include "timing.h"

#include <stdio.h>

#define STEPS 32
#define WARM_UP 16
#define RESOLVED 100		/* steps of the clock in what is measured */
#define CALLS_MAX (1u << 20)
#define LAPS 51
#define TAIL_VALUES 1000

void timing_begin(void)
{
	if (in_window())
		broken("timing_begin() inside a window");
	perf_pause();
}

void timing_end(void)
{
	perf_start();
}

uint64_t clock_step_ns(void)
{
	uint64_t step = UINT64_MAX;

	for (int i = 0; i < STEPS; i++) {
		uint64_t begin = now_ns(), now;

		while ((now = now_ns()) == begin)
			;
		if (now - begin < step)
			step = now - begin;
	}
	return step;
}

static uint64_t lap(void (*fn)(void *), void *arg, uint64_t calls)
{
	uint64_t begin = now_ns();

	for (uint64_t i = 0; i < calls; i++)
		fn(arg);
	return now_ns() - begin;
}

void sample_calls(const char *name, const char *phase, void (*fn)(void *), void *arg)
{
	uint64_t enough = RESOLVED * clock_step_ns(), calls = 1, ns[LAPS];

	timing_begin();
	lap(fn, arg, WARM_UP);
	while (calls < CALLS_MAX && lap(fn, arg, calls) < enough)
		calls *= 2;
	for (int i = 0; i < LAPS; i++)
		ns[i] = lap(fn, arg, calls) / calls;
	timing_end();
	sort_u64(ns, LAPS);
	sample(name, (double)percentile(ns, LAPS, 500), "ns", phase);
}

void sample_tail(const char *name, uint64_t *ns, size_t count)
{
	sort_u64(ns, count);
	sample(name, (double)percentile(ns, count, 500), "ns", "p50");
	if (count >= TAIL_VALUES)
		sample(name, (double)percentile(ns, count, 990), "ns", "p99");
	sample(name, (double)ns[count - 1], "ns", "max");
}

void sample_distribution(const char *name, const uint64_t *sorted, size_t count)
{
	static const unsigned int per_mille[] = {
		0,   10,  20,  50,  100, 150, 200, 250, 300, 350, 400, 450, 500, 550,
		600, 650, 700, 750, 800, 850, 900, 925, 950, 970, 980, 990, 995, 1000,
	};

	for (size_t i = 0; i < sizeof(per_mille) / sizeof(per_mille[0]); i++) {
		char phase[16];

		snprintf(phase, sizeof(phase), "p%g", per_mille[i] / 10.0);
		sample(name, (double)percentile(sorted, count, per_mille[i]), "ns", phase);
	}
}
