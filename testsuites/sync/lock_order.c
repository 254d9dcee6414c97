/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "fence_source.h"
#include "stress.h"

#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define BUFFERS 2
#define WAIT_MS 10000

struct contest {
	const char *fences;
	int buffers[BUFFERS];
};

/*
 * Even workers go through the buffers in one order, odd ones in the other. Each takes a fence of its
 * own (on a third buffer, which nobody else has) into both, signals it, and waits for the fences that
 * both then have.
 */
static void contend(struct worker *worker)
{
	static const uint32_t usages[] = { DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_RW };
	struct contest *contest = worker->arg;
	struct buffer own = buffer_open(param_str("exporter"), 4096);
	struct fence_source source = source_open(contest->fences, &own.fd, 1);

	while (next_round(worker)) {
		uint32_t usage[BUFFERS] = { usages[decide(worker, 3)], usages[decide(worker, 3)] };
		bool between = decide(worker, 2);
		int fence;

		if (!source_attach(&source, 0, 0, true))
			broken("the fence of a buffer that nobody else has is EBUSY");
		fence = sync_file_export(own.fd, DMA_BUF_SYNC_RW);
		for (int i = 0; i < BUFFERS; i++) {
			int at = worker->number % 2 ? BUFFERS - 1 - i : i;

			sync_file_import(contest->buffers[at], usage[i], fence);
			if (i == 0 && between)
				sched_yield();
		}
		source_signal(&source, 0);
		for (int i = 0; i < BUFFERS; i++) {
			int at = worker->number % 2 ? BUFFERS - 1 - i : i;
			int now = sync_file_export(contest->buffers[at], DMA_BUF_SYNC_RW);
			int ready = poll_raw(now, POLLIN, WAIT_MS);

			check(ready == POLLIN, "round %llu: buffer %d is not free after %d ms: %s",
			      (unsigned long long)worker->rounds, at, WAIT_MS,
			      ready < 0 ? errname(ready) : "deadlock");
			close(now);
		}
		close(fence);
		worker->operations += BUFFERS;
	}
	source_close(&source);
	buffer_close(&own);
}

CASE(lock_order, "Tasks that import fences into two buffers in opposite orders all come to an end",
     .timeout_ms = 60000, .needs = "smp",
     .params = "exporter=udmabuf fences=drm:vgem seed=1 ms=500 rounds=0 workers=4 size=65536")
{
	struct contest contest = { .fences = param_str("fences") };
	struct buffer buffers[BUFFERS];

	for (int i = 0; i < BUFFERS; i++) {
		buffers[i] = buffer_open(param_str("exporter"), param_u64("size"));
		contest.buffers[i] = buffers[i].fd;
	}
	window_begin();
	stress_processes((unsigned int)param_u64("workers"), contend, &contest);
	window_end("contest");
	for (int i = 0; i < BUFFERS; i++)
		buffer_close(&buffers[i]);
}
