/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "codec.h"
#include "kms.h"
#include "stress.h"

#include <math.h>
#include <stdlib.h>

#define DEPTH 2u
#define FRAME_WAIT_MS 5000
#define WARM_MOST 64u	/* frames until each buffer of each stage has been through */

struct size {
	uint32_t width, height;
};

/* The first is all cases'; what else camera and encoder may both have. */
static const struct size sizes[] = {
	{ FRAME_WIDTH, FRAME_HEIGHT }, { 640, 480 }, { 800, 600 }, { 1280, 720 }, { 1920, 1080 },
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct pipeline {
	struct import camera;
	struct codec codec;
	struct display display;
	struct size size, other;	/* other: what it can change to, the same if to none */
	struct pool raw;
	struct shown shown[POOL_MAX];	/* by the number of the decoded buffer */
	uint32_t was_shown;		/* bit i: that one */
	int on_display;			/* the one that the display shows; -1: none yet */
	uint32_t camera_frames;
};

static bool camera_has(struct v4l2_queue *camera, const struct size *size)
{
	return m2m_has_size(camera, FRAME_FOURCC, size->width, size->height) &&
	       !v4l2_format_raw(camera, size->width, size->height, FRAME_FOURCC) &&
	       camera->width == size->width && camera->height == size->height;
}

static struct size other_size(struct pipeline *pipeline)
{
	for (size_t i = 1; i < SIZES; i++)
		if (codec_takes(&pipeline->codec, FRAME_FOURCC, sizes[i].width, sizes[i].height) &&
		    camera_has(&pipeline->camera.queue, &sizes[i]))
			return sizes[i];
	return sizes[0];
}

static struct picture picture_in(const struct size *size)
{
	return picture_of(FRAME_FOURCC, size->width, size->height);
}

/* Both codecs, for frames of the pipeline's size and, later, of the other one. */
static void start_codecs(struct pipeline *pipeline)
{
	const struct size *size = &pipeline->size;
	struct picture now = picture_in(size), other = picture_in(&pipeline->other);

	codec_start(&pipeline->codec, FRAME_FOURCC, size->width, size->height, DEPTH,
		    now.size > other.size ? &now : &other);
}

/* Camera, codecs and display for frames of the pipeline's size, and buffers for the camera's. */
static void set_up(struct pipeline *pipeline)
{
	struct v4l2_queue *camera = &pipeline->camera.queue;
	const struct size *size = &pipeline->size;
	size_t stride;

	v4l2_format(camera, size->width, size->height, FRAME_FOURCC);
	start_codecs(pipeline);
	stride = pipeline->codec.picture.component[0].stride;
	if (camera->fourcc != FRAME_FOURCC || camera->width != size->width ||
	    camera->height != size->height || camera->stride != stride)
		skip("the camera's frames are %ux%u %.4s of %u bytes a line, the encoder's %zu",
		     camera->width, camera->height, (const char *)&camera->fourcc, camera->stride,
		     stride);
	v4l2_rate(camera, 25);
	v4l2_request(camera, V4L2_MEMORY_DMABUF, pipeline->codec.raws);
	if (camera->count != pipeline->codec.raws)
		skip("the camera has %u buffers, the encoder %u", camera->count,
		     pipeline->codec.raws);
	pool_close(&pipeline->raw);
	pipeline->raw = pool_open(param_str("raw"), camera->count, camera->size);
	display_resize(&pipeline->display, size->width, size->height);
	pipeline->on_display = -1;
}

static struct pipeline open_pipeline(void)
{
	struct pipeline pipeline = {
		.camera = import_open(param_str("camera")),
		.codec = codec_open(param_str("codec"), param_fourcc("coded"), param_str("out")),
		.display = display_open(param_str("display"), FRAME_WIDTH, FRAME_HEIGHT),
		.size = sizes[0],
	};

	v4l2_request(&pipeline.camera.queue, V4L2_MEMORY_DMABUF, 0);	/* whose format is fixed till then */
	pipeline.other = other_size(&pipeline);
	capture_still(&pipeline.camera.queue);
	set_up(&pipeline);
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

/* Hands on what any of the codecs' queues has done, and shows the frame that comes out, if one does. */
static bool turn(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	uint32_t held = codec->raw_held;
	struct v4l2_frame decoded;
	bool came = codec_turn(codec, &decoded);

	for (uint32_t i = 0; i < codec->raws; i++)
		if ((held & ~codec->raw_held) & 1u << i)
			v4l2_queue(&pipeline->camera.queue, i, pipeline->raw.fd[i]);
	if (came)
		show(pipeline, decoded.index);
	return came;
}

/* Camera, encoder, decoder, display: whatever is done goes on, until one more frame is shown. */
static void one_frame(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	bool came;

	do {
		uint32_t raw = v4l2_dequeue(&pipeline->camera.queue, FRAME_WAIT_MS);

		codec_put(codec, raw, pipeline->raw.fd[raw], ++pipeline->camera_frames * 40000ull);
		do {
			came = turn(pipeline);
		} while (!came && codec->raw_held == (1u << codec->raws) - 1);
	} while (!came);
}

/* Gives the camera every buffer that the encoder does not have, and starts it. */
static void start_camera(struct pipeline *pipeline)
{
	for (uint32_t i = 0; i < pipeline->codec.raws; i++)
		if (!(pipeline->codec.raw_held & 1u << i))
			v4l2_queue(&pipeline->camera.queue, i, pipeline->raw.fd[i]);
	v4l2_stream(&pipeline->camera.queue, true);
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
	struct shown own = display_own(display, content, display->mode.hdisplay * 4u);
	uint32_t crc;

	display_show(display, &own);
	crc = display_crc(display);
	display_forget(display, &own);
	return crc;
}

/* What is on the display is the decoder's buffer, and how far that is the camera's picture, any of them. */
static struct difference compare_shown(struct pipeline *pipeline)
{
	struct picture picture = picture_in(&pipeline->size);
	struct buffer *raw = &pipeline->raw.buffer[0];
	struct buffer *shown = &pipeline->codec.out.buffer[pipeline->on_display];
	uint32_t seen = display_crc(&pipeline->display), expected, changed;
	uint8_t *content = malloc(picture.size);
	struct difference difference;

	if (!content)
		broken("no memory for a frame");
	picture_copy(&picture, content, &pipeline->codec.decoded,
		     buffer_begin(shown, DMA_BUF_SYNC_READ));
	buffer_end(shown, DMA_BUF_SYNC_READ);
	difference = picture_difference(&pipeline->codec.picture,
					buffer_begin(raw, DMA_BUF_SYNC_READ), &picture, content);
	buffer_end(raw, DMA_BUF_SYNC_READ);
	expected = own_crc(&pipeline->display, content);
	content[picture.size / 2] ^= 1;
	changed = own_crc(&pipeline->display, content);
	if (changed == expected)
		broken("another bit has the same CRC 0x%08x, so equality proves nothing", changed);
	check(seen == expected, "the display's CRC is 0x%08x, of the same content 0x%08x", seen,
	      expected);
	free(content);
	return difference;
}

CASE(pipeline, "A camera's frames are encoded, decoded and shown, each buffer shared by two devices",
     .timeout_ms = 60000,
     .params = "camera= codec= coded=FWHT display= raw=udmabuf out=udmabuf frames=4")
{
	uint32_t frames = (uint32_t)param_u64("frames");
	struct pipeline pipeline = open_pipeline();
	struct codec *codec = &pipeline.codec;
	struct difference difference;

	window_begin();
	start_camera(&pipeline);
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

	difference = compare_shown(&pipeline);
	info("equal", "%s", isinf(difference.psnr) ? "yes" : "no");
	if (!isinf(difference.psnr))
		sample("psnr", difference.psnr, "dB", "frames");

	close_pipeline(&pipeline);
}

/* What the display has of decoded buffers goes, and the display goes dark. */
static void forget_shown(struct pipeline *pipeline)
{
	for (uint32_t i = 0; i < POOL_MAX; i++)
		if (pipeline->shown[i].fb)
			display_forget(&pipeline->display, &pipeline->shown[i]);
}

/* Both codecs anew, wherever they are; with other buffers for decoded frames, or the same. */
static void restart_codecs(struct pipeline *pipeline, bool others)
{
	struct codec *codec = &pipeline->codec;

	v4l2_stream(&pipeline->camera.queue, false);
	codec_stop_decoder(codec);
	if (others)
		forget_shown(pipeline);
	for (uint32_t i = 0; others && i < codec->out.count; i++)
		pool_replace(&codec->out, i, codec->exporter);
	pipeline->on_display = -1;	/* the decoder gets them all; the next frame sets the mode */
	start_codecs(pipeline);
	start_camera(pipeline);
}

/* All of it at the other size; what is on its way is lost. */
static void resize(struct pipeline *pipeline)
{
	struct size now = pipeline->size;

	v4l2_stream(&pipeline->camera.queue, false);
	v4l2_request(&pipeline->camera.queue, V4L2_MEMORY_DMABUF, 0);
	codec_stop_decoder(&pipeline->codec);
	forget_shown(pipeline);
	pipeline->size = pipeline->other;
	pipeline->other = now;
	set_up(pipeline);
	start_camera(pipeline);
}

static void drain(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;

	codec_drain_encoder(codec);
	while (!codec->encoder_last)
		turn(pipeline);
	codec_drain_decoder(codec);
	while (!codec->decoder_last)
		turn(pipeline);
}

static void churn(struct worker *worker)
{
	struct pipeline pipeline = open_pipeline();
	struct v4l2_queue *camera = &pipeline.camera.queue;
	const struct size other = pipeline.other;
	bool resizes = other.width != pipeline.size.width || other.height != pipeline.size.height;
	struct difference difference;
	uint32_t resized = 0;

	start_camera(&pipeline);
	one_frame(&pipeline);
	while (next_round(worker)) {
		uint32_t what = decide(worker, 6), index = decide(worker, pipeline.codec.raws);

		switch (what) {
		case 0:
			drain(&pipeline);
			restart_codecs(&pipeline, false);
			break;
		case 1:
			restart_codecs(&pipeline, true);
			break;
		case 2:
			v4l2_stream(camera, false);
			if (!(pipeline.codec.raw_held & 1u << index))
				pool_replace(&pipeline.raw, index, param_str("raw"));
			start_camera(&pipeline);
			break;
		case 3:
			v4l2_stream(camera, false);
			start_camera(&pipeline);
			break;
		case 4:
			if (resizes)
				resize(&pipeline);
			resized += resizes;
			break;
		default:
			break;	/* one frame more */
		}
		one_frame(&pipeline);
		worker->operations += 1 + (what < 5);
	}
	if (resizes && !resized) {
		resize(&pipeline);	/* once at the least, however short it is */
		resized++;
	}
	for (uint32_t i = 0; i < pipeline.codec.raws; i++)	/* the last of which is in raw[0] */
		one_frame(&pipeline);
	v4l2_stream(camera, false);
	difference = compare_shown(&pipeline);
	info("equal", "%s", isinf(difference.psnr) ? "yes" : "no");
	info("psnr", "%.1f", difference.psnr);
	if (resizes)
		info("other_size", "%ux%u", other.width, other.height);
	info("resized", "%u", resized);
	close_pipeline(&pipeline);
}

CASE(pipeline_churn, "A pipeline survives restarts, drains, new buffers and sizes, and gives all back",
     .timeout_ms = 120000,
     .params = "camera= codec= coded= display= raw=udmabuf out=udmabuf seed=1 ms=500 rounds=0")
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
