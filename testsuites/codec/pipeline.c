/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "codec.h"
#include "kms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 2u
#define FRAME_WAIT_MS 5000

struct pipeline {
	struct import camera;
	struct codec codec;
	struct display display;
	struct pool raw, coded, out;
	struct shown shown[DEPTH];
};

static struct pipeline open_pipeline(void)
{
	struct pipeline pipeline = {
		.camera = import_open(param_str("camera")),
		.codec = codec_open(param_str("codec"), param_fourcc("coded")),
		.display = display_open(param_str("display"), FRAME_WIDTH, FRAME_HEIGHT),
	};
	struct picture picture = picture_of(FRAME_FOURCC, FRAME_WIDTH, FRAME_HEIGHT);

	capture_still(&pipeline.camera.queue);
	v4l2_rate(&pipeline.camera.queue, 10);
	v4l2_request(&pipeline.camera.queue, V4L2_MEMORY_DMABUF, DEPTH);
	codec_start(&pipeline.codec, &picture, DEPTH, &picture);
	pipeline.raw = pool_open(param_str("raw"), DEPTH, picture.size);
	pipeline.coded = pool_open(param_str("coded_in"), DEPTH, pipeline.codec.coded_size);
	pipeline.out = pool_open(param_str("out"), DEPTH, picture.size);
	return pipeline;
}

static void close_pipeline(struct pipeline *pipeline)
{
	display_close(&pipeline->display);
	codec_close(&pipeline->codec);
	import_close(&pipeline->camera);
	pool_close(&pipeline->raw);
	pool_close(&pipeline->coded);
	pool_close(&pipeline->out);
}

/* Camera, encoder, decoder, display: one frame by buffers of one number. */
static uint32_t one_frame(struct pipeline *pipeline, bool first)
{
	uint32_t i = v4l2_dequeue(&pipeline->camera.queue, FRAME_WAIT_MS), bytes;

	bytes = codec_encode(&pipeline->codec, i, pipeline->raw.fd[i], pipeline->coded.fd[i]);
	codec_decode(&pipeline->codec, i, pipeline->coded.fd[i], bytes, pipeline->out.fd[i]);
	if (!pipeline->shown[i].fb)
		pipeline->shown[i] = display_import(&pipeline->display, pipeline->out.fd[i],
						    FRAME_WIDTH * 4);
	if (first) {
		display_show(&pipeline->display, &pipeline->shown[i]);
	} else {
		display_flip(&pipeline->display, &pipeline->shown[i]);
		display_flipped(&pipeline->display, FRAME_WAIT_MS);
	}
	v4l2_queue(&pipeline->camera.queue, i, pipeline->raw.fd[i]);
	return i;
}

/* The CRC of what the display shows of a buffer of its own with this content. */
static uint32_t own_crc(struct display *display, const void *content)
{
	struct shown own = display_own(display, content, FRAME_WIDTH * 4);
	uint32_t crc;

	display_show(display, &own);
	crc = display_crc(display);
	display_forget(display, &own);
	return crc;
}

CASE(pipeline, "A camera's frames are encoded, decoded and shown, each buffer shared by two devices",
     .timeout_ms = 60000,
     .params = "camera= codec= coded=FWHT display= raw=udmabuf coded_in=udmabuf "
	       "out=udmabuf frames=4")
{
	uint32_t frames = (uint32_t)param_u64("frames"), last = 0, seen, expected, changed;
	struct pipeline pipeline = open_pipeline();
	size_t size = FRAME_SIZE;
	uint8_t *content = malloc(size);
	const uint8_t *shown;
	double psnr;

	if (!content)
		broken("no memory for a frame");
	window_begin();
	for (uint32_t i = 0; i < DEPTH; i++)
		v4l2_queue(&pipeline.camera.queue, i, pipeline.raw.fd[i]);
	v4l2_stream(&pipeline.camera.queue, true);
	for (uint32_t i = 0; i < DEPTH; i++)
		one_frame(&pipeline, !i);
	window_end("first");

	window_begin();
	for (uint32_t i = 0; i < frames; i++)
		last = one_frame(&pipeline, false);
	window_end("steady");
	info("frames", "%u", frames);
	info("buffers", "%u", DEPTH);

	/* What is on the display is the decoder's buffer, and that is the camera's picture. */
	seen = display_crc(&pipeline.display);
	shown = buffer_begin(&pipeline.out.buffer[last], DMA_BUF_SYNC_READ);
	memcpy(content, shown, size);
	buffer_end(&pipeline.out.buffer[last], DMA_BUF_SYNC_READ);
	v4l2_stream(&pipeline.camera.queue, false);
	psnr = picture_psnr(buffer_begin(&pipeline.raw.buffer[last], DMA_BUF_SYNC_READ), content,
			    size);
	buffer_end(&pipeline.raw.buffer[last], DMA_BUF_SYNC_READ);
	expected = own_crc(&pipeline.display, content);
	content[size / 2] ^= 1;
	changed = own_crc(&pipeline.display, content);
	if (changed == expected)
		broken("another bit has the same CRC 0x%08x, so equality proves nothing", changed);
	check(seen == expected, "the display's CRC is 0x%08x, of the same content 0x%08x", seen,
	      expected);
	info("equal", "%s", isinf(psnr) ? "yes" : "no");
	if (!isinf(psnr))
		sample("psnr", psnr, "dB", "frames");

	close_pipeline(&pipeline);
	free(content);
}
