/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"
#include "timing.h"

#include <unistd.h>

#define FRAME_BYTES 64u
#define TIMED_LEAST 11u		/* fewer starts say nothing of a median; each frame takes 100 ms */
#define TIMED_MAX 100u

CASE(device_frames, "A device reads a buffer frame by frame, mapped for each frame or once for all",
     .timeout_ms = 30000,
     .params = "importer=refdev exporter=heap:system mode=per-use frames=20 timed=11 size=1048576 "
	       "seed=23")
{
	uint32_t flags = param_is("mode", "cached") ? REFDEV_CACHED : 0;
	uint64_t frames = param_u64("frames"), timed = param_u64("timed");
	uint64_t spent[TIMED_MAX];
	uint32_t seed = (uint32_t)param_u64("seed"), id;
	struct refdev_counters before, after;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(param_str("importer"));

	if (!flags && !param_is("mode", "per-use"))
		broken("mode is '%s', expected per-use or cached", param_str("mode"));
	if (timed > TIMED_MAX || (timed && timed < TIMED_LEAST))
		broken("timed is %llu, expected 0 or %u to %u", (unsigned long long)timed, TIMED_LEAST,
		       TIMED_MAX);
	buffer_fill(&buffer, seed);

	window_begin();
	id = refdev_attach(device, buffer.fd, flags);
	window_end("attach");

	before = refdev_counters(device);
	window_begin();
	for (uint64_t i = 0; i < frames; i++) {
		refdev_start(device, id, 0, i * FRAME_BYTES, FRAME_BYTES);
		refdev_wait(device, id);
	}
	window_end("frames");
	after = refdev_counters(device);
	info("device_maps", "%llu", (unsigned long long)(after.maps - before.maps));
	info("device_unmaps", "%llu", (unsigned long long)(after.unmaps - before.unmaps));
	info("device_transfers", "%llu", (unsigned long long)(after.transfers - before.transfers));

	if (timed) {	/* those have warmed it up */
		timing_begin();
		for (uint64_t i = 0; i < timed; i++) {
			uint64_t begin = now_ns();

			refdev_start(device, id, 0, i * FRAME_BYTES, FRAME_BYTES);
			spent[i] = now_ns() - begin;
			refdev_wait(device, id);
		}
		timing_end();
		sample_tail("start_time", spent, timed);
	}

	window_begin();
	refdev_detach(device, id);
	window_end("detach");
	after = refdev_counters(device);
	check(after.maps == after.unmaps && after.attaches == after.detaches,
	      "after detach: %llu maps, %llu unmaps, %llu attaches, %llu detaches",
	      (unsigned long long)after.maps, (unsigned long long)after.unmaps,
	      (unsigned long long)after.attaches, (unsigned long long)after.detaches);
	check(buffer_mismatch(&buffer, seed) < 0, "a device that only reads changed the content");

	close(device);
	buffer_close(&buffer);
}
