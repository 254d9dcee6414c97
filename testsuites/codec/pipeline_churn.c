/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "pipeline.h"
#include "stress.h"

#include <stdlib.h>

static void churn(struct worker *worker)
{
	struct pipeline pipeline = pipeline_open();
	const struct size other = pipeline.other;
	bool resizes = pipeline_can_resize(&pipeline);
	uint32_t resized = 0;
	struct sight sight;

	pipeline_start_camera(&pipeline);
	pipeline_frame(&pipeline);
	while (next_round(worker)) {
		uint32_t what = decide(worker, 6), index = decide(worker, pipeline.codec.raws);

		switch (what) {
		case 0:
			pipeline_drain(&pipeline);
			pipeline_restart_codecs(&pipeline, false);
			break;
		case 1:
			pipeline_restart_codecs(&pipeline, true);
			break;
		case 2:
			pipeline_stop_camera(&pipeline);
			if (!(pipeline.codec.raw_held & 1u << index))
				pool_replace(&pipeline.raw, index, param_str("raw"));
			pipeline_start_camera(&pipeline);
			break;
		case 3:
			pipeline_stop_camera(&pipeline);
			pipeline_start_camera(&pipeline);
			break;
		case 4:
			if (resizes)
				pipeline_resize(&pipeline);
			resized += resizes;
			break;
		default:
			break;	/* one frame more */
		}
		pipeline_frame(&pipeline);
		worker->operations += 1 + (what < 5);
	}
	if (resizes && !resized) {
		pipeline_resize(&pipeline);	/* once at the least, however short it is */
		resized++;
	}
	pipeline_frame(&pipeline);
	sight = pipeline_look(&pipeline);
	pipeline_stop_camera(&pipeline);
	pipeline_check_crc(&pipeline, &sight);
	free(sight.content);
	pipeline_tell_quality(&pipeline);
	info("frames", "%u", pipeline.ledger.came);
	if (resizes)
		info("other_size", "%ux%u", other.width, other.height);
	info("resized", "%u", resized);
	pipeline_close(&pipeline);
}

CASE(pipeline_churn, "A pipeline survives restarts, drains, new buffers and sizes, and gives all back",
     .timeout_ms = 120000,
     .params = PIPELINE_PARAMS "seed=1 ms=500 rounds=0")
{
	struct bufinfo before, after;

	bufinfo_raw(&before);
	window_begin();
	stress_threads(1, churn, NULL);
	window_end("stress");
	if (!bufinfo_raw(&after))
		check(after.objects == before.objects && after.bytes == before.bytes,
		      "%lu dma-bufs of %llu bytes are left, before there were %lu of %llu",
		      after.objects, after.bytes, before.objects, before.bytes);
}
