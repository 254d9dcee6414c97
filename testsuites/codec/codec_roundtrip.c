/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 2u

/* The least PSNR of a frame so far, how many came back as they were, and the first byte that did not. */
struct quality {
	double least;
	unsigned int equal;
	size_t changed;
};

static void judge(struct quality *quality, const uint8_t *raw, const uint8_t *out, size_t size)
{
	double psnr = picture_psnr(raw, out, size);
	size_t at = 0;

	while (at < size && raw[at] == out[at])
		at++;
	if (at < quality->changed)
		quality->changed = at;
	if (isinf(psnr))
		quality->equal++;
	else if (psnr < quality->least)
		quality->least = psnr;
}

CASE(codec_roundtrip, "Pictures that are encoded and decoded through shared buffers come back",
     .timeout_ms = 60000,
     .params = "codec= coded=FWHT format=YU12 width=640 height=368 content=scene "
	       "frames=3 exporter=udmabuf")
{
	uint32_t frames = (uint32_t)param_u64("frames"), bytes = 0, least_bytes = UINT32_MAX;
	uint32_t width = (uint32_t)param_u64("width"), height = (uint32_t)param_u64("height");
	uint32_t format = param_fourcc("format");
	struct codec codec = codec_open(param_str("codec"), param_fourcc("coded"));
	struct quality quality = { .least = INFINITY, .changed = SIZE_MAX };
	const char *content = param_str("content"), *exporter = param_str("exporter");
	struct pool raw, coded, out;
	struct picture picture;
	uint8_t *expected;

	if (!codec_takes(&codec, format, width, height))
		broken("%s does not take %s of %ux%u", param_str("codec"), param_str("format"),
		       width, height);
	picture = picture_of(format, width, height);
	codec_start(&codec, &picture, DEPTH, &picture);
	raw = pool_open(exporter, DEPTH, picture.size);
	coded = pool_open(exporter, DEPTH, codec.coded_size);
	out = pool_open(exporter, DEPTH, picture.size);
	expected = malloc(picture.size);
	if (!expected)
		broken("no memory for a picture");

	for (uint32_t frame = 0; frame < frames; frame++) {
		uint32_t i = frame % DEPTH;
		struct buffer *from = &raw.buffer[i], *to = &out.buffer[i];

		picture_fill(&picture, expected, content, frame);
		memcpy(buffer_begin(from, DMA_BUF_SYNC_WRITE), expected, picture.size);
		buffer_end(from, DMA_BUF_SYNC_WRITE);
		memset(buffer_begin(to, DMA_BUF_SYNC_WRITE), 0, picture.size);
		buffer_end(to, DMA_BUF_SYNC_WRITE);

		window_begin();
		bytes = codec_encode(&codec, i, raw.fd[i], coded.fd[i]);
		codec_decode(&codec, i, coded.fd[i], bytes, out.fd[i]);
		window_end(frame < DEPTH ? "first" : "steady");
		if (bytes < least_bytes)
			least_bytes = bytes;

		judge(&quality, expected, buffer_begin(to, DMA_BUF_SYNC_READ), picture.size);
		buffer_end(to, DMA_BUF_SYNC_READ);
	}
	info("frames", "%u", frames);
	info("equal", "%u", quality.equal);
	if (quality.equal < frames)
		info("first_changed", "%zu", quality.changed);
	info("coded_bytes", "%u", least_bytes);
	info("raw_bytes", "%zu", picture.size);
	if (!isinf(quality.least))
		sample("psnr", quality.least, "dB", "frames");
	sample("coded_size", least_bytes, "B", "frames");

	codec_close(&codec);
	pool_close(&raw);
	pool_close(&coded);
	pool_close(&out);
	free(expected);
}
