/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "stream.h"

#include <math.h>

#define DEPTH 2u
#define WARM_MOST 64u	/* frames until each buffer has been through */

CASE(codec_roundtrip, "Pictures that are encoded and decoded through shared buffers come back",
     .timeout_ms = 60000,
     .params = STREAM_PARAMS "width=640 height=368 frames=3 raw=udmabuf")
{
	uint32_t frames = (uint32_t)param_u64("frames");
	uint32_t width = (uint32_t)param_u64("width"), height = (uint32_t)param_u64("height");
	struct stream stream = stream_open(param_str("raw"), width, height);
	struct codec *codec = &stream.codec;
	struct picture picture = picture_of(param_fourcc("format"), width, height);

	stream_start(&stream, width, height, DEPTH, &picture);
	for (uint32_t warm = 0; !codec_warm(codec); warm++) {
		check(warm < WARM_MOST, "of %u frames, none was in some buffers: raw %#x, coded %#x",
		      warm, codec->raw_seen, codec->coded_seen);
		stream_run(&stream, 1, "first");
	}
	stream_run(&stream, frames, "steady");
	stream_drain(&stream);

	info("frames", "%u", stream.ledger.came);
	info("equal", "%u", stream.ledger.equal);
	if (stream.ledger.equal < stream.ledger.came) {
		info("first_changed", "%u", stream.ledger.changed);
		sample("psnr", stream.ledger.worst, "dB", "frames");
	}
	info("raw_buffers", "%u", codec->raws);
	info("coded_buffers", "%u", codec->coded_pool.count);
	info("decoded_buffers", "%u", codec->decoder.capture.count);
	info("coded_bytes", "%u", codec->least_bytes);
	info("raw_bytes", "%zu", codec->picture.size);
	sample("coded_size", codec->least_bytes, "B", "frames");
	stream_close(&stream);
}
