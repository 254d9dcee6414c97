/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <poll.h>
#include <unistd.h>

#define LENGTH 256u
#define SIGNAL_MS 5000

struct party {
	int device;
	uint32_t id;
	struct buffer *buffer;
};

/* Starts the transfer; the buffer is idle before, and the device is busy when this returns. */
static void start_idle(struct party *party, uint32_t flags)
{
	poll_ready(party->buffer->fd, POLLIN | POLLOUT, 0);
	refdev_start(party->device, party->id, flags, 0, LENGTH);
}

static void still_running(struct party *party, const char *meanwhile)
{
	int err = refdev_wait_raw(party->device, party->id, 0);

	if (err != -ETIMEDOUT)
		broken("the transfer was over before %s: %s", meanwhile, errname(err));
}

static void pending(int sync_file, bool expected, const char *what)
{
	int status = sync_file_status(sync_file);

	check(status == !expected, "%s: status %d, expected %d (%s)", what, status, !expected,
	      expected ? "pending" : "signalled");
}

/* While the device reads, readers go on and writers wait. */
static void device_reads(struct party *party)
{
	int fd = party->buffer->fd, readers, writers;
	uint64_t begin, spent;

	start_idle(party, 0);
	poll_ready(fd, POLLIN, 0);
	poll_blocked(fd, POLLOUT);
	readers = sync_file_export(fd, DMA_BUF_SYNC_READ);
	writers = sync_file_export(fd, DMA_BUF_SYNC_WRITE);
	pending(readers, false, "what a reader waits for, while the device reads");
	pending(writers, true, "what a writer waits for, while the device reads");
	begin = now_ns();
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	spent = now_ns() - begin;
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	still_running(party, "a reader had seen that it need not wait");
	sample("sync_start", (double)spent, "ns", "reader-of-read");

	begin = now_ns();
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE);
	spent = now_ns() - begin;
	check(refdev_wait_raw(party->device, party->id, 0) == 0,
	      "SYNC START for writing returned while the device still reads");
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE);
	sample("sync_start", (double)spent, "ns", "writer-of-read");
	poll_ready(writers, POLLIN, SIGNAL_MS);
	pending(writers, false, "the writer's, when the device has read");
	close(readers);
	close(writers);
}

/* While the device writes, everybody waits. */
static void device_writes(struct party *party)
{
	int fd = party->buffer->fd, both;
	uint64_t begin, spent;

	start_idle(party, REFDEV_WRITE);
	poll_blocked(fd, POLLIN);
	poll_blocked(fd, POLLOUT);
	both = sync_file_export(fd, DMA_BUF_SYNC_RW);
	pending(both, true, "what a user waits for, while the device writes");
	still_running(party, "a reader came");
	begin = now_ns();
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	spent = now_ns() - begin;
	check(refdev_wait_raw(party->device, party->id, 0) == 0,
	      "SYNC START for reading returned while the device still writes");
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	sample("sync_start", (double)spent, "ns", "reader-of-write");
	poll_ready(both, POLLIN, SIGNAL_MS);
	pending(both, false, "the user's, when the device has written");
	close(both);

	/* poll sleeps until the interrupt, and no longer. */
	start_idle(party, REFDEV_WRITE);
	begin = now_ns();
	poll_ready(fd, POLLIN | POLLOUT, SIGNAL_MS);
	sample("poll_wake", (double)(now_ns() - begin), "ns", "write");
	refdev_wait(party->device, party->id);
}

CASE(device_fences, "A transfer in flight holds back whom its fence should hold back, and no others",
     .timeout_ms = 20000, .params = "importer=refdev exporter=udmabuf mode=cached size=65536 seed=5")
{
	uint32_t flags = param_is("mode", "cached") ? REFDEV_CACHED : 0;
	uint32_t seed = (uint32_t)param_u64("seed");
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	struct party party = { .device = refdev_open(param_str("importer")), .buffer = &buffer };
	struct refdev_counters counters;

	buffer_fill(&buffer, seed);
	party.id = refdev_attach(party.device, buffer.fd, flags);
	window_begin();
	device_reads(&party);
	device_writes(&party);
	window_end("fences");
	/* What was read at the start of the buffer was written there again, twice. */
	check(buffer_mismatch(&buffer, seed) < 0, "the content changed at byte %lld",
	      (long long)buffer_mismatch(&buffer, seed));

	refdev_detach(party.device, party.id);
	counters = refdev_counters(party.device);
	check(counters.fences_init == counters.fences_signalled && !counters.timeouts,
	      "%llu fences, %llu signalled, %llu of them by the watchdog",
	      (unsigned long long)counters.fences_init,
	      (unsigned long long)counters.fences_signalled, (unsigned long long)counters.timeouts);
	info("fences", "%llu", (unsigned long long)counters.fences_init);
	close(party.device);
	buffer_close(&buffer);
}
