/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "stream.h"

#include <stdio.h>

#define DEPTH 2u
#define WIDTH 800u
#define HEIGHT 480u

CASE(source_change, "A decoder follows a stream that changes its size, and is drained at its end",
     .timeout_ms = 60000,
     .params = STREAM_PARAMS "sizes=640x368,800x480,640x368")
{
	struct stream stream = stream_open(param_str("exporter"), WIDTH, HEIGHT);
	struct picture largest = picture_of(param_fourcc("format"), WIDTH, HEIGHT);
	const char *sizes = param_str("sizes");
	unsigned int streams = 0;

	while (*sizes) {
		unsigned int width, height;
		int used = 0;

		if (sscanf(sizes, "%ux%u%n", &width, &height, &used) != 2 || width > WIDTH ||
		    height > HEIGHT)
			broken("sizes are '%s', expected 640x368,… up to %ux%u", sizes, WIDTH, HEIGHT);
		sizes += used + (sizes[used] == ',');
		if (streams++)
			stream_drain_encoder(&stream);
		stream_start(&stream, width, height, DEPTH, &largest);
		stream_run(&stream, 3, NULL);
	}
	stream_drain(&stream);
	check(stream.codec.source_changes == streams,
	      "%u source changes were told, the stream had %u", stream.codec.source_changes, streams);
	info("streams", "%u", streams);
	info("frames", "%u", stream.ledger.came);
	stream_close(&stream);
}

CASE(decoder_resumes, "A decoder that was drained goes on with its stream when it is told to start",
     .timeout_ms = 60000,
     .params = STREAM_PARAMS "width=640 height=368")
{
	uint32_t width = (uint32_t)param_u64("width"), height = (uint32_t)param_u64("height");
	struct stream stream = stream_open(param_str("exporter"), width, height);
	struct picture picture = picture_of(param_fourcc("format"), width, height);

	stream_start(&stream, width, height, DEPTH, &picture);
	stream_run(&stream, 1, NULL);
	stream_drain(&stream);
	info("drained", "yes");
	stream_start(&stream, width, height, DEPTH, &picture);
	codec_resume_decoder(&stream.codec);
	stream_run(&stream, 1, NULL);
	check(stream.codec.source_changes == 1,
	      "the decoder tells a source change of a stream that goes on");
	stream_close(&stream);
}
