/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "fence_source.h"
#include "stress.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#define FILES 8

struct churn {
	const char *fences;
	bool loose;
	unsigned int count;
	int buffers[SOURCE_BUFFERS];
};

static void replace(int *file, int by)
{
	if (*file >= 0)
		close(*file);
	*file = by;
}

/* The same decisions in every round, whatever the last one has left to act on. */
static void one_round(struct worker *worker, struct fence_source *source, int files[FILES])
{
	static const uint32_t usages[] = { DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_RW };
	uint32_t what = decide(worker, 8), at = decide(worker, source->count);
	int *file = &files[decide(worker, FILES)], *other = &files[decide(worker, FILES)];
	uint32_t slot = decide(worker, SOURCE_FENCES), usage = usages[decide(worker, 3)];
	bool write = decide(worker, 2);
	int buffer = source->buffers[at];

	switch (what) {
	case 0:
		worker->operations += source_attach(source, at, slot, write);
		return;
	case 1:
		source_signal(source, slot);
		break;
	case 2:
	case 3:
		replace(file, sync_file_export(buffer, usage));
		break;
	case 4:
		if (*file < 0)
			return;
		sync_file_import(buffer, usage, *file);
		break;
	case 5: {
		int merged = *file < 0 || *other < 0 ? -ENOENT : merge_raw(*file, *other, 0);

		if (merged == -ENOENT)
			return;
		check(merged >= 0, "SYNC_IOC_MERGE: %s", errname(merged));
		replace(file, merged);
		break;
	}
	case 6: {
		/* A sync_file tells of POLLIN alone (sync_file_poll(), drivers/dma-buf/sync_file.c, 6.12). */
		int waited = *file >= 0 ? poll_raw(*file, POLLIN, 1) :
					  poll_raw(buffer, write ? POLLOUT : POLLIN, 1);

		check(waited >= 0, "poll: %s", errname(waited));
		break;
	}
	default:
		replace(file, -1);
		break;
	}
	worker->operations++;
}

static void churn(struct worker *worker)
{
	struct churn *churn = worker->arg;
	struct fence_source source = source_open(churn->fences, churn->buffers, churn->count);
	int files[FILES];

	source.loose = churn->loose;
	for (int i = 0; i < FILES; i++)
		files[i] = -1;
	while (next_round(worker))
		one_round(worker, &source, files);
	for (int i = 0; i < FILES; i++)
		replace(&files[i], -1);
	source_close(&source);
}

CASE(fence_churn, "Processes merge, import, export and wait for fences at random, and none is left",
     .timeout_ms = 60000, .needs = "smp",
     .params = "exporter=udmabuf fences=drm:vgem seed=1 ms=500 rounds=0 workers=4 buffers=4 "
	       "size=65536 loose=0")
{
	struct churn shared = {
		.fences = param_str("fences"), .loose = param_u64("loose"),
		.count = (unsigned int)param_u64("buffers"),
	};
	struct buffer buffers[SOURCE_BUFFERS];

	if (!shared.count || shared.count > SOURCE_BUFFERS)
		broken("%u buffers, expected 1 to %d", shared.count, SOURCE_BUFFERS);
	for (unsigned int i = 0; i < shared.count; i++) {
		buffers[i] = buffer_open(param_str("exporter"), param_u64("size"));
		shared.buffers[i] = buffers[i].fd;
	}
	window_begin();
	stress_processes((unsigned int)param_u64("workers"), churn, &shared);
	window_end("churn");
	/* Whoever made them is gone, so every fence is signalled. */
	for (unsigned int i = 0; i < shared.count; i++) {
		poll_ready(buffers[i].fd, POLLIN | POLLOUT, 5000);
		buffer_close(&buffers[i]);
	}
}
