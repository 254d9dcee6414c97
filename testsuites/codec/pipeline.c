/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "codec.h"
#include "kms.h"

#include <math.h>
#include <stdlib.h>

#define DEPTH 2u
#define FRAME_WAIT_MS 5000
#define WARM_MOST 64u	/* frames until each buffer of each stage has been through */

struct pipeline {
	struct import camera;
	struct codec codec;
	struct display display;
	struct pool raw;
	struct shown shown[POOL_MAX];	/* by the number of the decoded buffer */
	uint32_t was_shown;		/* bit i: that one */
	int on_display;			/* the one that the display shows; -1: none yet */
	uint32_t camera_frames;
};

static struct pipeline open_pipeline(void)
{
	struct pipeline pipeline = {
		.camera = import_open(param_str("camera")),
		.codec = codec_open(param_str("codec"), param_fourcc("coded"), param_str("out")),
		.display = display_open(param_str("display"), FRAME_WIDTH, FRAME_HEIGHT),
		.on_display = -1,
	};
	struct picture picture = picture_of(FRAME_FOURCC, FRAME_WIDTH, FRAME_HEIGHT);
	struct v4l2_queue *camera = &pipeline.camera.queue;

	codec_start(&pipeline.codec, FRAME_FOURCC, FRAME_WIDTH, FRAME_HEIGHT, DEPTH, &picture);
	if (pipeline.codec.picture.component[0].stride != camera->stride)
		skip("the camera's lines have %u bytes, the encoder's %zu", camera->stride,
		     pipeline.codec.picture.component[0].stride);
	capture_still(camera);
	v4l2_rate(camera, 25);
	v4l2_request(camera, V4L2_MEMORY_DMABUF, pipeline.codec.raws);
	if (camera->count != pipeline.codec.raws)
		skip("the camera has %u buffers, the encoder %u", camera->count,
		     pipeline.codec.raws);
	pipeline.raw = pool_open(param_str("raw"), camera->count, camera->size);
	return pipeline;
}

static void close_pipeline(struct pipeline *pipeline)
{
	display_close(&pipeline->display);
	codec_close(&pipeline->codec);
	import_close(&pipeline->camera);
	pool_close(&pipeline->raw);
}

/* Shows a decoded buffer; the one that was shown until then is the decoder's again. */
static void show(struct pipeline *pipeline, uint32_t index)
{
	struct shown *shown = &pipeline->shown[index];

	if (!shown->fb)
		*shown = display_import(&pipeline->display, pipeline->codec.out.fd[index],
					(uint32_t)pipeline->codec.decoded.component[0].stride);
	if (pipeline->on_display < 0) {
		display_show(&pipeline->display, shown);
	} else {
		display_flip(&pipeline->display, shown);
		display_flipped(&pipeline->display, FRAME_WAIT_MS);
		codec_give_back(&pipeline->codec, (uint32_t)pipeline->on_display);
	}
	pipeline->on_display = (int)index;
	pipeline->was_shown |= 1u << index;
}

/* Camera, encoder, decoder, display: whatever is done goes on, until one more frame is shown. */
static void one_frame(struct pipeline *pipeline)
{
	struct v4l2_queue *camera = &pipeline->camera.queue;
	struct codec *codec = &pipeline->codec;
	struct v4l2_frame decoded;
	uint32_t held;
	bool came;

	do {
		uint32_t raw = v4l2_dequeue(camera, FRAME_WAIT_MS);

		codec_put(codec, raw, pipeline->raw.fd[raw], ++pipeline->camera_frames * 40000ull);
		do {
			held = codec->raw_held;
			came = codec_turn(codec, &decoded);
			for (uint32_t i = 0; i < codec->raws; i++)
				if ((held & ~codec->raw_held) & 1u << i)
					v4l2_queue(camera, i, pipeline->raw.fd[i]);
		} while (!came && codec->raw_held == (1u << codec->raws) - 1);
	} while (!came);
	show(pipeline, decoded.index);
}

/* Until each buffer of each stage has been through. */
static void warm_up(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	uint32_t frames = 0;

	do {
		check(frames++ < WARM_MOST, "of %u frames none was in some buffers: shown %#x", frames,
		      pipeline->was_shown);
		one_frame(pipeline);
	} while (!codec_warm(codec) || pipeline->was_shown + 1 != 1u << codec->decoder.capture.count);
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
     .params = "camera= codec= coded=FWHT display= raw=udmabuf out=udmabuf frames=4")
{
	uint32_t frames = (uint32_t)param_u64("frames"), seen, expected, changed;
	struct pipeline pipeline = open_pipeline();
	struct codec *codec = &pipeline.codec;
	struct picture picture = picture_of(FRAME_FOURCC, FRAME_WIDTH, FRAME_HEIGHT);
	struct difference difference;
	uint8_t *content = malloc(FRAME_SIZE);
	struct buffer *shown;

	if (!content)
		broken("no memory for a frame");
	window_begin();
	for (uint32_t i = 0; i < codec->raws; i++)
		v4l2_queue(&pipeline.camera.queue, i, pipeline.raw.fd[i]);
	v4l2_stream(&pipeline.camera.queue, true);
	warm_up(&pipeline);
	window_end("first");

	window_begin();
	for (uint32_t i = 0; i < frames; i++)
		one_frame(&pipeline);
	window_end("steady");
	v4l2_stream(&pipeline.camera.queue, false);
	info("frames", "%u", frames);
	info("raw_buffers", "%u", codec->raws);
	info("coded_buffers", "%u", codec->coded_pool.count);
	info("decoded_buffers", "%u", codec->decoder.capture.count);

	/* What is on the display is the decoder's buffer, and that is the camera's picture, any of them. */
	seen = display_crc(&pipeline.display);
	shown = &codec->out.buffer[pipeline.on_display];
	picture_copy(&picture, content, &codec->decoded, buffer_begin(shown, DMA_BUF_SYNC_READ));
	buffer_end(shown, DMA_BUF_SYNC_READ);
	difference = picture_difference(&codec->picture,
					buffer_begin(&pipeline.raw.buffer[0], DMA_BUF_SYNC_READ),
					&picture, content);
	buffer_end(&pipeline.raw.buffer[0], DMA_BUF_SYNC_READ);
	expected = own_crc(&pipeline.display, content);
	content[FRAME_SIZE / 2] ^= 1;
	changed = own_crc(&pipeline.display, content);
	if (changed == expected)
		broken("another bit has the same CRC 0x%08x, so equality proves nothing", changed);
	check(seen == expected, "the display's CRC is 0x%08x, of the same content 0x%08x", seen,
	      expected);
	info("equal", "%s", isinf(difference.psnr) ? "yes" : "no");
	if (!isinf(difference.psnr))
		sample("psnr", difference.psnr, "dB", "frames");

	close_pipeline(&pipeline);
	free(content);
}
