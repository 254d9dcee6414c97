/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "codec.h"

#include <math.h>
#include <stdio.h>

#define DEPTH 2u

/* One frame of blocks, which come back as they were. */
static unsigned int one_frame(struct codec *codec, struct pool *raw, struct pool *coded,
			      struct pool *out, uint32_t frame)
{
	struct picture *picture = &codec->picture;
	uint32_t i = frame % DEPTH, bytes;
	unsigned int changes;
	double psnr;

	picture_fill(picture, buffer_begin(&raw->buffer[i], DMA_BUF_SYNC_WRITE), "blocks", frame);
	buffer_end(&raw->buffer[i], DMA_BUF_SYNC_WRITE);
	bytes = codec_encode(codec, i, raw->fd[i], coded->fd[i]);
	changes = codec_decode(codec, i, coded->fd[i], bytes, out->fd[i]);
	psnr = picture_psnr(buffer_begin(&raw->buffer[i], DMA_BUF_SYNC_READ),
			    buffer_begin(&out->buffer[i], DMA_BUF_SYNC_READ), picture->size);
	buffer_end(&raw->buffer[i], DMA_BUF_SYNC_READ);
	buffer_end(&out->buffer[i], DMA_BUF_SYNC_READ);
	check(isinf(psnr), "frame %u of %ux%u came back with %.1f dB, expected equal", frame,
	      picture->width, picture->height, psnr);
	return changes;
}

CASE(source_change, "A decoder follows a stream that changes its size, and is drained at its end",
     .timeout_ms = 60000,
     .params = "codec= coded=FWHT format=YU12 exporter=udmabuf "
	       "sizes=640x368,800x480,640x368")
{
	struct codec codec = codec_open(param_str("codec"), param_fourcc("coded"));
	struct picture largest = picture_of(param_fourcc("format"), 800, 480);
	const char *exporter = param_str("exporter"), *sizes = param_str("sizes");
	struct pool raw = pool_open(exporter, DEPTH, largest.size);
	struct pool out = pool_open(exporter, DEPTH, largest.size), coded = { 0 };
	unsigned int streams = 0, changes = 0;
	uint32_t frame = 0;

	while (*sizes) {
		unsigned int width, height;
		struct picture picture;
		int used = 0;

		if (sscanf(sizes, "%ux%u%n", &width, &height, &used) != 2 || width > 800 ||
		    height > 480)
			broken("sizes are '%s', expected 640x368,… up to 800x480", sizes);
		sizes += used + (sizes[used] == ',');
		picture = picture_of(largest.fourcc, width, height);
		if (streams++)
			codec_stop_encoder(&codec);
		codec_start(&codec, &picture, DEPTH, &largest);
		if (!coded.count)
			coded = pool_open(exporter, DEPTH, codec.coded_size);
		for (unsigned int i = 0; i < 3; i++)
			changes += one_frame(&codec, &raw, &coded, &out, frame++);
	}
	check(changes == streams, "%u source changes were told, the stream had %u", changes, streams);
	info("streams", "%u", streams);

	codec_drain(&codec, 0, out.fd[0]);
	codec_close(&codec);
	pool_close(&raw);
	pool_close(&coded);
	pool_close(&out);
}

CASE(decoder_resumes, "A decoder that was drained goes on with its stream when it is told to start",
     .timeout_ms = 60000,
     .params = "codec= coded=FWHT format=YU12 width=640 height=368 exporter=udmabuf")
{
	struct codec codec = codec_open(param_str("codec"), param_fourcc("coded"));
	struct picture picture = picture_of(param_fourcc("format"), (uint32_t)param_u64("width"),
					    (uint32_t)param_u64("height"));
	const char *exporter = param_str("exporter");
	struct pool raw = pool_open(exporter, DEPTH, picture.size);
	struct pool out = pool_open(exporter, DEPTH, picture.size), coded;
	unsigned int changes;

	codec_start(&codec, &picture, DEPTH, &picture);
	coded = pool_open(exporter, DEPTH, codec.coded_size);
	one_frame(&codec, &raw, &coded, &out, 0);
	codec_drain(&codec, 1, out.fd[1]);
	info("drained", "yes");
	codec_resume(&codec);
	changes = one_frame(&codec, &raw, &coded, &out, 1);
	check(!changes, "the decoder tells a source change of a stream that goes on");

	codec_close(&codec);
	pool_close(&raw);
	pool_close(&coded);
	pool_close(&out);
}
