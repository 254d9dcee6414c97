/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "sw_sync.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#define FENCES 8
#define WAKE_MS 5000

static int merge(int one, int other)
{
	int fd = merge_raw(one, other, 0);

	check(fd >= 0, "SYNC_IOC_MERGE: %s", errname(fd));
	return fd;
}

/*
 * How many fences a sync_file has, and of these how many with `status`. A pending one names sw_sync;
 * of one that is signalled the kernel no longer asks the driver from Linux 6.17 on
 * (dma_fence_driver_name(), drivers/dma-buf/dma-fence.c).
 */
static unsigned int fences_of(int sync_file, int status, unsigned int *total)
{
	struct sync_fence_info fences[FENCES] = { 0 };
	struct sync_file_info info = {
		.num_fences = FENCES, .sync_fence_info = (uintptr_t)fences,
	};
	unsigned int found = 0;
	const char *expected;

	check(ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) == 0, "SYNC_IOC_FILE_INFO: %s",
	      errname(errno));
	check(info.num_fences <= FENCES, "%u fences, expected %u at most", info.num_fences, FENCES);
	for (unsigned int i = 0; i < info.num_fences; i++) {
		found += fences[i].status == status;
		expected = fences[i].status ? param_str("signaled") : "sw_sync";
		check(!strcmp(fences[i].driver_name, expected),
		      "fence %u of status %d is '%.32s's, expected '%s's", i, fences[i].status,
		      fences[i].driver_name, expected);
		check(!fences[i].timestamp_ns == !fences[i].status,
		      "fence %u has status %d and time %llu", i, fences[i].status,
		      (unsigned long long)fences[i].timestamp_ns);
	}
	*total = info.num_fences;
	return found;
}

CASE(sw_sync_timeline, "A timeline signals its fences in order, each when its value is reached")
{
	int timeline = timeline_open(), fences[FENCES], late, dead;

	/* Made in another order than they are signalled in. */
	for (int i = FENCES - 1; i >= 0; i--)
		fences[i] = fence_at(timeline, (uint32_t)(2 * (i + 1)));
	window_begin();
	for (int step = 1; step <= 2 * FENCES; step++) {
		advance(timeline, 1);
		for (int i = 0; i < FENCES; i++)
			check(sync_file_status(fences[i]) == (2 * (i + 1) <= step),
			      "at %d the fence of %d has status %d", step, 2 * (i + 1),
			      sync_file_status(fences[i]));
	}
	window_end("steps");

	/* One whose value is past is signalled when it is made; a step may pass over several. */
	late = fence_at(timeline, 1);
	sync_file_is(late, 1, "a fence of the past");
	close(late);
	for (int i = 0; i < FENCES; i++) {
		close(fences[i]);
		fences[i] = fence_at(timeline, (uint32_t)(2 * FENCES + 1 + i));
	}
	poll_blocked(fences[0], POLLIN);
	advance(timeline, FENCES);
	for (int i = 0; i < FENCES; i++) {
		poll_ready(fences[i], POLLIN, 0);
		close(fences[i]);
	}

	/* A timeline that goes away ends its fences, and says that they were never signalled. */
	dead = fence_at(timeline, UINT32_C(1000));
	sync_file_is(dead, 0, "a fence of the future");
	close(timeline);
	poll_ready(dead, POLLIN, WAKE_MS);
	sync_file_is(dead, -ENOENT, "the fence of a closed timeline");
	close(dead);
}

CASE(sw_sync_merge, "A merged sync_file waits for all, and tells of each",
     .params = "signaled=sw_sync")
{
	int timelines[3], fences[3], pair, all, same, later, twice;
	unsigned int total;

	for (int i = 0; i < 3; i++) {
		timelines[i] = timeline_open();
		fences[i] = fence_at(timelines[i], 5);
	}
	pair = merge(fences[0], fences[1]);
	all = merge(pair, fences[2]);
	check(fences_of(all, 0, &total) == 3 && total == 3, "of 3 merged, %u fences", total);
	for (int i = 0; i < 3; i++) {
		advance(timelines[i], 4);
		poll_blocked(all, POLLIN);
		advance(timelines[i], 1);
		sync_file_is(all, i == 2, "all three, when some are signalled");
		check(fences_of(all, 1, &total) == (unsigned int)i + 1,
		      "%d signalled, and as many are not told of", i + 1);
	}
	sync_file_is(pair, 1, "two of three, when these are signalled");
	poll_ready(all, POLLIN, WAKE_MS);

	/* Of one timeline only the latest matters; with itself a fence is one. */
	for (int i = 0; i < 3; i++)
		close(fences[i]);
	fences[0] = fence_at(timelines[0], 6);
	fences[1] = fence_at(timelines[0], 8);
	same = merge(fences[0], fences[0]);
	check(fences_of(same, 0, &total) == 1 && total == 1, "merged with itself: %u fences", total);
	later = merge(fences[0], fences[1]);
	check(fences_of(later, 0, &total) == 1 && total == 1, "of one timeline: %u fences", total);
	advance(timelines[0], 1);
	sync_file_is(same, 1, "the earlier one, merged with itself");
	sync_file_is(later, 0, "both, at the earlier one");
	advance(timelines[0], 2);
	sync_file_is(later, 1, "both, at the later one");

	/* A member whose timeline goes away ends the whole with its error. */
	fences[2] = fence_at(timelines[1], 1000);
	twice = merge(fences[2], later);
	close(timelines[1]);
	poll_ready(twice, POLLIN, WAKE_MS);
	sync_file_is(twice, -ENOENT, "merged with the fence of a closed timeline");

	check(merge_raw(fences[0], -1, 0) == -ENOENT, "merged with no descriptor");
	check(merge_raw(fences[0], timelines[0], 0) == -ENOENT, "merged with a timeline");
	check(merge_raw(fences[0], fences[1], 1) == -EINVAL, "merged with an unknown flag");

	for (int i = 0; i < 3; i++)
		close(fences[i]);
	close(pair);
	close(all);
	close(same);
	close(later);
	close(twice);
	close(timelines[0]);
	close(timelines[2]);
}

CASE(sw_sync_buffer, "A timeline's fences hold back a buffer's users in their order",
     .params = "exporter=udmabuf size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int timeline = timeline_open(), reads = fence_at(timeline, 1), writes = fence_at(timeline, 2);
	int merged = merge(reads, writes), told;
	unsigned int total;

	sync_file_import(buffer.fd, DMA_BUF_SYNC_READ, reads);
	poll_ready(buffer.fd, POLLIN, 0);
	poll_blocked(buffer.fd, POLLOUT);
	sync_file_import(buffer.fd, DMA_BUF_SYNC_WRITE, merged);
	poll_blocked(buffer.fd, POLLIN);
	told = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW);
	check(fences_of(told, 0, &total) >= 1, "the buffer tells of no pending fence");

	advance(timeline, 1);
	poll_blocked(buffer.fd, POLLIN);
	advance(timeline, 1);
	poll_ready(buffer.fd, POLLIN | POLLOUT, WAKE_MS);
	sync_file_is(told, 1, "what the buffer told of");

	close(told);
	close(merged);
	close(reads);
	close(writes);
	close(timeline);
	buffer_close(&buffer);
}
