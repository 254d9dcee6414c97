/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "stress.h"

#include <stdatomic.h>
#include <poll.h>
#include <unistd.h>

#define BUFFERS 2
#define WAIT_MS 10000

struct contest {
	const char *device;
	int buffers[BUFFERS];
	_Atomic uint64_t backoffs;
	_Atomic uint64_t arrays;	/* sync_files of more than one fence */
};

/* Even workers lock the buffers in one order, odd ones in the other, and each holds both at once. */
static void contend(struct worker *worker)
{
	struct contest *contest = worker->arg;
	int device = refdev_open(contest->device);
	uint32_t ids[BUFFERS];

	for (unsigned int i = 0; i < BUFFERS; i++)
		ids[i] = refdev_attach(device, contest->buffers[(i + worker->number) % BUFFERS], 0);
	while (next_round(worker)) {
		bool linger = decide(worker, 2);
		int at = contest->buffers[decide(worker, BUFFERS)], fences, ready;

		contest->backoffs += refdev_barrier(device, linger ? REFDEV_LINGER : 0, ids, BUFFERS);
		fences = sync_file_export(at, DMA_BUF_SYNC_RW);
		contest->arrays += sync_file_fences(fences) > 1;
		ready = poll_raw(fences, POLLIN, WAIT_MS);
		check(ready == POLLIN, "round %llu: a buffer is not free after %d ms: %s",
		      (unsigned long long)worker->rounds, WAIT_MS,
		      ready < 0 ? errname(ready) : "a fence is never signalled");
		close(fences);
		worker->operations++;
	}
	for (unsigned int i = 0; i < BUFFERS; i++)
		refdev_detach(device, ids[i]);
	close(device);
}

CASE(lock_tickets, "Tasks that hold two buffers' locks at once, in opposite orders, come to an end",
     .timeout_ms = 60000, .needs = "smp",
     .params = "exporter=udmabuf device=refdev seed=1 ms=500 rounds=0 workers=4 size=65536")
{
	struct contest *contest = shared_memory(sizeof(*contest));
	struct buffer buffers[BUFFERS];
	uint64_t operations;

	contest->device = param_str("device");
	for (int i = 0; i < BUFFERS; i++) {
		buffers[i] = buffer_open(param_str("exporter"), param_u64("size"));
		contest->buffers[i] = buffers[i].fd;
	}
	window_begin();
	operations = stress_processes((unsigned int)param_u64("workers"), contend, contest);
	window_end("contest");
	info("backoffs", "%llu", (unsigned long long)contest->backoffs);
	info("arrays", "%llu", (unsigned long long)contest->arrays);
	sample("lock_backoffs", (double)contest->backoffs * 1000 / (double)operations, "{permille}",
	       "stress");
	for (int i = 0; i < BUFFERS; i++)
		buffer_close(&buffers[i]);
	shared_memory_free(contest, sizeof(*contest));
}
