/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <poll.h>
#include <unistd.h>

#define LENGTH 256u
#define SIGNAL_MS 5000
#define HALF_NS 50000000ull	/* edu takes 100 ms for a transfer (hw/misc/edu.c, QEMU 7.2) */
#define TRIES 20u		/* on a slow machine it may be over before anybody has looked */

struct party {
	int device;
	uint32_t id;
	struct buffer *buffer;
};

/* Starts a transfer of an idle buffer; the device is busy when this returns. Tells when it began. */
static uint64_t start_idle(struct party *party, uint32_t flags)
{
	uint64_t began;

	poll_ready(party->buffer->fd, POLLIN | POLLOUT, 0);
	began = now_ns();
	refdev_start(party->device, party->id, flags, 0, LENGTH);
	return began;
}

/*
 * Whether the device is busy and will be for some time: what was seen since it began counts only
 * then. Else waits for its end.
 */
static bool in_time(struct party *party, uint64_t began)
{
	int err = refdev_wait_raw(party->device, party->id, 0);

	if (err == -ETIMEDOUT && now_ns() - began < HALF_NS)
		return true;
	if (err == -ETIMEDOUT)
		refdev_wait(party->device, party->id);
	else if (err)
		broken("REFDEV_WAIT: %s", errname(err));
	return false;
}

static void pending(int status, bool expected, const char *what)
{
	check(status == !expected, "%s: status %d, expected %d (%s)", what, status, !expected,
	      expected ? "pending" : "signalled");
}

/* While the device reads, readers go on and writers wait. */
static void device_reads(struct party *party)
{
	int fd = party->buffer->fd, readers = -1, writers = -1;
	int readable, writable, for_readers, for_writers;
	unsigned int tries = 0, waited = 0;
	uint64_t began, begin, spent;
	bool busy;

	do {
		check(waited <= TRIES / 2, "SYNC START for reading waited for a device that reads, "
		      "%u times of %u", waited, tries);
		if (tries++ == TRIES)
			broken("each of %u transfers was over before a reader had seen that it "
			       "need not wait", TRIES);
		began = start_idle(party, 0);
		readable = poll_raw(fd, POLLIN, 0);
		writable = poll_raw(fd, POLLOUT, 0);
		close(readers);	/* of the try before */
		close(writers);
		readers = sync_file_export(fd, DMA_BUF_SYNC_READ);
		writers = sync_file_export(fd, DMA_BUF_SYNC_WRITE);
		for_readers = sync_file_status(readers);
		for_writers = sync_file_status(writers);
		busy = in_time(party, began);
		if (!busy)
			continue;
		check(readable == POLLIN && !writable,
		      "poll while the device reads: events %#x and %#x", readable, writable);
		pending(for_readers, false, "what a reader waits for, while the device reads");
		pending(for_writers, true, "what a writer waits for, while the device reads");
		begin = now_ns();
		dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
		spent = now_ns() - begin;
		dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
		busy = in_time(party, began);
		waited += spent >= HALF_NS;	/* as it must if it waits for the device */
	} while (!busy);
	sample("sync_start", (double)spent, "ns", "reader-of-read");

	begin = now_ns();
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE);
	spent = now_ns() - begin;
	check(refdev_wait_raw(party->device, party->id, 0) == 0,
	      "SYNC START for writing returned while the device still reads");
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE);
	sample("sync_start", (double)spent, "ns", "writer-of-read");
	poll_ready(writers, POLLIN, SIGNAL_MS);
	pending(sync_file_status(writers), false, "the writer's, when the device has read");
	close(readers);
	close(writers);
}

/* While the device writes, everybody waits. */
static void device_writes(struct party *party)
{
	int fd = party->buffer->fd, both = -1, ready, status;
	uint64_t began, begin, spent;
	unsigned int tries = 0;

	do {
		if (tries++ == TRIES)
			broken("each of %u transfers was over before a reader came", TRIES);
		began = start_idle(party, REFDEV_WRITE);
		ready = poll_raw(fd, POLLIN, 0) | poll_raw(fd, POLLOUT, 0);
		close(both);	/* of the try before */
		both = sync_file_export(fd, DMA_BUF_SYNC_RW);
		status = sync_file_status(both);
	} while (!in_time(party, began));
	check(!ready, "poll while the device writes: events %#x", ready);
	pending(status, true, "what a user waits for, while the device writes");
	begin = now_ns();
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	spent = now_ns() - begin;
	check(refdev_wait_raw(party->device, party->id, 0) == 0,
	      "SYNC START for reading returned while the device still writes");
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	sample("sync_start", (double)spent, "ns", "reader-of-write");
	poll_ready(both, POLLIN, SIGNAL_MS);
	pending(sync_file_status(both), false, "the user's, when the device has written");
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

	/*
	 * udmabuf maps for the direction of its first SYNC. DMA_API_DEBUG tells off every page of
	 * every later one with another, unless that was both: it would take longer than a transfer.
	 */
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
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
