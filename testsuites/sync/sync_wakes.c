/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "timing.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ASLEEP_LIMIT_NS 3000000000ull	/* a vgem fence expires by itself after 10 s */

/* What the two processes share: one waits in SYNC START, the other signals the fence. */
struct meeting {
	int buffer;
	int go[2], done[2];		/* pipes: one byte a round */
	uint64_t rounds;
	_Atomic uint64_t entered;	/* rounds in which the waiter is about to call START */
	_Atomic uint64_t returned;	/* rounds in which START has returned */
	_Atomic uint64_t woke_ns;	/* when */
};

static void waiter(void *arg)
{
	struct meeting *meeting = arg;
	char byte = 0;

	for (uint64_t i = 1; i <= meeting->rounds; i++) {
		uint64_t woke;

		if (read(meeting->go[0], &byte, 1) != 1)
			broken("the waiter's pipe closed: %s", errname(errno));
		atomic_store(&meeting->entered, i);
		dmabuf_sync(meeting->buffer, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
		woke = now_ns();
		atomic_store(&meeting->woke_ns, woke);
		atomic_store(&meeting->returned, i);
		dmabuf_sync(meeting->buffer, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
		if (write(meeting->done[1], &byte, 1) != 1)
			broken("the waiter's pipe closed: %s", errname(errno));
	}
}

static char process_state(pid_t pid)
{
	char path[64], text[512], *after;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (read_file_raw(path, text, sizeof(text)) <= 0)
		return '?';
	after = strrchr(text, ')');
	return after && after[1] ? after[2] : '?';
}

/* Until the waiter has gone to sleep behind `entered`: then it can only be in START. */
static void await_asleep(struct meeting *meeting, pid_t pid, uint64_t round)
{
	struct patience patience = { .left_ns = ASLEEP_LIMIT_NS };

	while (atomic_load(&meeting->entered) != round || process_state(pid) != 'S') {
		check(atomic_load(&meeting->returned) != round,
		      "round %llu: START returned though the fence is pending",
		      (unsigned long long)round);
		if (!patience.left_ns)
			fail("round %llu: the waiter never went to sleep (state %c)",
			     (unsigned long long)round, process_state(pid));
		patience_wait(&patience, 50);	/* leaves the processor to the waiter */
	}
	check(atomic_load(&meeting->returned) != round,
	      "round %llu: START returned though the fence is pending", (unsigned long long)round);
}

static uint64_t one_round(struct meeting *meeting, pid_t pid, int vgem, uint32_t handle,
			  uint64_t round)
{
	uint32_t fence = vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	uint64_t signalled, woke;
	char byte = 0;

	if (write(meeting->go[1], &byte, 1) != 1)
		broken("the pipe to the waiter closed: %s", errname(errno));
	await_asleep(meeting, pid, round);
	signalled = now_ns();
	vgem_fence_signal(vgem, fence);		/* ETIMEDOUT if it expired: then this fails */
	if (read(meeting->done[0], &byte, 1) != 1)
		broken("the pipe from the waiter closed: %s", errname(errno));
	woke = atomic_load(&meeting->woke_ns);
	check(woke >= signalled, "round %llu: START returned %llu ns before the signal",
	      (unsigned long long)round, (unsigned long long)(signalled - woke));
	return woke - signalled;
}

/* With nothing attached START does not wait: this is what it costs by itself, with its END. */
static void sync_idle(void *arg)
{
	int buffer = *(int *)arg;

	dmabuf_sync(buffer, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	dmabuf_sync(buffer, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
}

CASE(sync_wakes, "SYNC START sleeps until the writer's fence is signalled, and then wakes",
     .timeout_ms = 60000,
     .params = "exporter=udmabuf fencer=drm:vgem rounds=1000 warmup=20 size=65536 "
	       "distribution=0")
{
	uint64_t rounds = param_u64("rounds"), warmup = param_u64("warmup"), total = rounds + warmup;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int vgem = drm_open(param_str("fencer"));
	uint32_t handle = prime_import(vgem, buffer.fd), fence;
	struct meeting *meeting = shared_memory(sizeof(*meeting));
	uint64_t *latency = calloc(total, sizeof(*latency));
	pid_t pid;

	if (!rounds || !latency)
		broken("no memory for %llu rounds", (unsigned long long)total);

	sample_calls("sync_idle", "p50", sync_idle, &buffer.fd);
	sample("clock_step", (double)clock_step_ns(), "ns", "idle");

	/* A reader's fence does not hold back a reader; that it can be signalled shows it lasted. */
	fence = vgem_fence_attach(vgem, handle, 0);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	vgem_fence_signal(vgem, fence);

	meeting->buffer = buffer.fd;
	meeting->rounds = total;
	if (pipe(meeting->go) < 0 || pipe(meeting->done) < 0)
		broken("pipe: %s", errname(errno));
	pid = spawn(waiter, meeting);
	for (uint64_t i = 0; i < total; i++)
		latency[i] = one_round(meeting, pid, vgem, handle, i + 1);
	join(pid);
	sample_tail("wake_latency", latency + warmup, rounds);
	if (param_u64("distribution"))
		sample_distribution("wake_quantile", latency + warmup, rounds);
	info("rounds", "%llu", (unsigned long long)rounds);

	for (int i = 0; i < 2; i++) {
		close(meeting->go[i]);
		close(meeting->done[i]);
	}
	shared_memory_free(meeting, sizeof(*meeting));
	free(latency);
	gem_close(vgem, handle);
	close(vgem);
	buffer_close(&buffer);
}
