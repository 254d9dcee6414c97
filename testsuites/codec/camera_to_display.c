/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#define WARM_MOST 64u	/* frames until each buffer of each stage has been through */

/*
 * The display had another CRC each time that it showed another content, and the last one also for that
 * content in a buffer of its own. How many contents came in a row.
 */
static uint32_t check_sights(struct pipeline *pipeline, struct sight *sights, uint32_t count)
{
	uint32_t pictures = 1;

	for (uint32_t i = 1; i < count; i++) {
		bool same = !memcmp(sights[i].content, sights[i - 1].content,
				    pipeline->codec.decoded.size);

		check((sights[i].crc == sights[i - 1].crc) == same,
		      "the display's CRCs are 0x%08x and then 0x%08x, the contents are %s",
		      sights[i - 1].crc, sights[i].crc, same ? "equal" : "not equal");
		pictures += !same;
	}
	pipeline_check_crc(pipeline, &sights[count - 1]);
	return pictures;
}

CASE(pipeline, "A camera's frames are encoded, decoded and shown, each buffer shared by two devices",
     .timeout_ms = 60000, .params = PIPELINE_PARAMS "frames=4")
{
	uint32_t frames = (uint32_t)param_u64("frames"), warm = 0;
	struct pipeline pipeline = pipeline_open();
	const struct codec *codec = &pipeline.codec;
	struct sight *sights = calloc(frames, sizeof(*sights));

	if (!frames || !sights)
		broken("%u frames are none, or more than there is memory for", frames);
	pipeline.phase = "first";
	pipeline_start_camera(&pipeline);
	do {
		check(warm++ < WARM_MOST, "of %u frames none was in some buffers: shown %#x", warm,
		      pipeline.was_shown);
		pipeline_frame(&pipeline);
	} while (!pipeline_warm(&pipeline));

	pipeline.phase = "steady";
	for (uint32_t i = 0; i < frames; i++) {
		pipeline_frame(&pipeline);
		sights[i] = pipeline_look(&pipeline);
	}
	pipeline_stop_camera(&pipeline);
	info("frames", "%u", frames);
	info("raw_buffers", "%u", codec->raws);
	info("coded_buffers", "%u", codec->coded_pool.count);
	info("decoded_buffers", "%u", codec->decoder.capture.count);
	info("pictures", "%u", check_sights(&pipeline, sights, frames));
	pipeline_tell_quality(&pipeline);

	for (uint32_t i = 0; i < frames; i++)
		free(sights[i].content);
	free(sights);
	pipeline_close(&pipeline);
}
