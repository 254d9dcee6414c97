/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 2u
#define BLOT 0x5b	/* in none of vivid's colours */
#define PIECE 1024u	/* bytes; each page of a frame has a whole one */

/* The first is all cases'; what else camera and encoder may both have. */
static const struct size sizes[] = {
	{ FRAME_WIDTH, FRAME_HEIGHT }, { 640, 480 }, { 800, 600 }, { 1280, 720 }, { 1920, 1080 },
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* --- what is counted, and what the CPU does beside it ---------------------------------------------- */

static void devices_begin(const struct pipeline *pipeline)
{
	if (pipeline->phase)
		window_begin();
}

static void devices_end(const struct pipeline *pipeline)
{
	if (pipeline->phase)
		window_end(pipeline->phase);
}

/* What is in the buffer afterwards is what a device wrote. */
static void blot_out(struct buffer *buffer)
{
	memset(buffer_begin(buffer, DMA_BUF_SYNC_WRITE), BLOT, buffer->size);
	buffer_end(buffer, DMA_BUF_SYNC_WRITE);
}

/* The offset of the first piece of a picture that is as blot_out() left it, or -1. */
static int64_t unwritten(const struct picture *picture, const uint8_t *seen)
{
	const struct component *component = &picture->component[0];
	size_t line = (size_t)component->width * component->step;

	for (size_t y = 0; y < component->height; y++)
		for (size_t x = 0; x < line; x += PIECE) {
			size_t at = y * component->stride + x;
			size_t size = line - x < PIECE ? line - x : PIECE;

			if (seen[at] == BLOT && !memcmp(seen + at, seen + at + 1, size - 1))
				return (int64_t)at;
		}
	return -1;
}

/* --- setting up ------------------------------------------------------------------------------------ */

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

bool pipeline_can_resize(const struct pipeline *pipeline)
{
	return pipeline->other.width != pipeline->size.width ||
	       pipeline->other.height != pipeline->size.height;
}

static struct picture picture_in(const struct size *size)
{
	return picture_of(FRAME_FOURCC, size->width, size->height);
}

/* Both codecs, for frames of the pipeline's size and, later, of the other one; the decoder has stopped. */
static void start_codecs(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	const struct size *size = &pipeline->size;
	struct picture now = picture_in(size), other = picture_in(&pipeline->other);

	for (uint32_t i = 0; i < codec->out.count; i++)
		blot_out(&codec->out.buffer[i]);
	codec_start(codec, FRAME_FOURCC, size->width, size->height, DEPTH,
		    now.size > other.size ? &now : &other);
	ledger_lost(&pipeline->ledger);
	pipeline->on_display = -1;	/* the decoder gets all buffers; the next frame sets the mode */
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
}

struct pipeline pipeline_open(void)
{
	struct pipeline pipeline = {
		.camera = import_open(param_str("camera")),
		.codec = codec_open(param_str("codec"), param_fourcc("coded"), param_str("out")),
		.display = display_open(param_str("display"), FRAME_WIDTH, FRAME_HEIGHT),
		.size = sizes[0],
		.ledger = ledger_open(),
	};

	v4l2_request(&pipeline.camera.queue, V4L2_MEMORY_DMABUF, 0);	/* whose format is fixed till then */
	pipeline.other = other_size(&pipeline);
	capture_moving(&pipeline.camera.queue);
	set_up(&pipeline);
	return pipeline;
}

void pipeline_close(struct pipeline *pipeline)
{
	display_close(&pipeline->display);
	codec_close(&pipeline->codec);
	import_close(&pipeline->camera);
	pool_close(&pipeline->raw);
	ledger_close(&pipeline->ledger);
}

/* --- frames ---------------------------------------------------------------------------------------- */

static void to_camera(struct pipeline *pipeline, uint32_t index)
{
	blot_out(&pipeline->raw.buffer[index]);
	devices_begin(pipeline);
	v4l2_queue(&pipeline->camera.queue, index, pipeline->raw.fd[index]);
	devices_end(pipeline);
}

void pipeline_start_camera(struct pipeline *pipeline)
{
	for (uint32_t i = 0; i < pipeline->codec.raws; i++)
		if (!(pipeline->codec.raw_held & 1u << i))
			to_camera(pipeline, i);
	pipeline->sequence = 0;
	v4l2_stream(&pipeline->camera.queue, true);
}

void pipeline_stop_camera(struct pipeline *pipeline)
{
	v4l2_stream(&pipeline->camera.queue, false);
}

/* The number of the raw buffer that has the camera's next frame, which is kept as it is now. */
static uint32_t from_camera(struct pipeline *pipeline)
{
	const struct picture *picture = &pipeline->codec.picture;
	struct v4l2_frame frame;
	struct buffer *buffer;
	const uint8_t *seen;
	int64_t at;

	devices_begin(pipeline);
	frame = v4l2_dequeue_frame(&pipeline->camera.queue, PATIENCE_MS);
	devices_end(pipeline);
	if (frame.sequence < pipeline->sequence)
		fail("the camera's frame %u comes after its frame %u", frame.sequence,
		     pipeline->sequence);
	pipeline->sequence = frame.sequence;
	buffer = &pipeline->raw.buffer[frame.index];
	seen = buffer_begin(buffer, DMA_BUF_SYNC_READ);
	at = unwritten(picture, seen);
	if (at >= 0)
		fail("the camera's frame %u is not written at byte %lld of %zu", frame.sequence,
		     (long long)at, picture->size);
	memcpy(ledger_enter(&pipeline->ledger, picture), seen, picture->size);
	buffer_end(buffer, DMA_BUF_SYNC_READ);
	return frame.index;
}

static void flip(struct pipeline *pipeline, uint32_t index)
{
	struct shown *shown = &pipeline->shown[index];

	if (!shown->fb)
		*shown = display_import(&pipeline->display, pipeline->codec.out.fd[index],
					(uint32_t)pipeline->codec.decoded.component[0].stride);
	if (pipeline->on_display < 0) {
		display_show(&pipeline->display, shown);
	} else {
		display_flip(&pipeline->display, shown);
		display_flipped(&pipeline->display, PATIENCE_MS);
	}
}

/* Shows a decoded frame, and judges it; the one that was shown until then is the decoder's again. */
static void show(struct pipeline *pipeline, const struct v4l2_frame *decoded)
{
	struct codec *codec = &pipeline->codec;
	struct buffer *buffer = &codec->out.buffer[decoded->index];
	int before = pipeline->on_display;

	devices_begin(pipeline);
	flip(pipeline, decoded->index);
	devices_end(pipeline);
	pipeline->on_display = (int)decoded->index;
	pipeline->was_shown |= 1u << decoded->index;
	ledger_check(&pipeline->ledger, decoded, &codec->decoded,
		     buffer_begin(buffer, DMA_BUF_SYNC_READ));
	buffer_end(buffer, DMA_BUF_SYNC_READ);
	if (before < 0)
		return;
	blot_out(&codec->out.buffer[before]);
	devices_begin(pipeline);
	codec_give_back(codec, (uint32_t)before);
	devices_end(pipeline);
}

/* Hands on what any of the codecs' queues has done, and shows the frame that comes out, if one does. */
static bool turn(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	uint32_t held = codec->raw_held;
	struct v4l2_frame decoded;
	bool came;

	devices_begin(pipeline);
	came = codec_turn(codec, &decoded);
	devices_end(pipeline);
	for (uint32_t i = 0; i < codec->raws; i++)
		if ((held & ~codec->raw_held) & 1u << i)
			to_camera(pipeline, i);
	if (came)
		show(pipeline, &decoded);
	return came;
}

void pipeline_frame(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	bool came;

	do {
		uint32_t raw = from_camera(pipeline);

		devices_begin(pipeline);
		codec_put(codec, raw, pipeline->raw.fd[raw], ledger_stamp(&pipeline->ledger));
		devices_end(pipeline);
		do {
			came = turn(pipeline);
		} while (!came && codec->raw_held == (1u << codec->raws) - 1);
	} while (!came);
}

bool pipeline_warm(const struct pipeline *pipeline)
{
	/* The decoder may do with all but one, which stays on the display. */
	return codec_warm(&pipeline->codec) &&
	       pipeline->was_shown + 1 == 1u << pipeline->codec.decoder.capture.count;
}

/* --- what becomes of it ---------------------------------------------------------------------------- */

void pipeline_drain(struct pipeline *pipeline)
{
	struct codec *codec = &pipeline->codec;
	const struct ledger *ledger = &pipeline->ledger;

	codec_drain_encoder(codec);
	while (!codec->encoder_last)
		turn(pipeline);
	codec_drain_decoder(codec);
	while (!codec->decoder_last)
		turn(pipeline);
	if (ledger->next != ledger->put)
		fail("drained codecs have given frames up to %u of %u", ledger->next, ledger->put);
}

/* What the display has of decoded buffers goes, and the display goes dark. */
static void forget_shown(struct pipeline *pipeline)
{
	for (uint32_t i = 0; i < POOL_MAX; i++)
		if (pipeline->shown[i].fb)
			display_forget(&pipeline->display, &pipeline->shown[i]);
}

void pipeline_restart_codecs(struct pipeline *pipeline, bool others)
{
	struct codec *codec = &pipeline->codec;

	pipeline_stop_camera(pipeline);
	codec_stop_decoder(codec);
	if (others)
		forget_shown(pipeline);
	for (uint32_t i = 0; others && i < codec->out.count; i++)
		pool_replace(&codec->out, i, codec->exporter);
	start_codecs(pipeline);
	pipeline_start_camera(pipeline);
}

void pipeline_resize(struct pipeline *pipeline)
{
	struct size now = pipeline->size;

	pipeline_stop_camera(pipeline);
	v4l2_request(&pipeline->camera.queue, V4L2_MEMORY_DMABUF, 0);
	codec_stop_decoder(&pipeline->codec);
	forget_shown(pipeline);
	pipeline->size = pipeline->other;
	pipeline->other = now;
	set_up(pipeline);
	pipeline_start_camera(pipeline);
}

/* --- what is seen ---------------------------------------------------------------------------------- */

struct sight pipeline_look(struct pipeline *pipeline)
{
	struct buffer *shown = &pipeline->codec.out.buffer[pipeline->on_display];
	const struct picture *picture = &pipeline->codec.decoded;
	struct sight sight = {
		.crc = display_crc(&pipeline->display),
		.stride = picture->component[0].stride,
		.content = malloc(picture->size),
	};

	if (!sight.content)
		broken("no memory for a frame");
	memcpy(sight.content, buffer_begin(shown, DMA_BUF_SYNC_READ), picture->size);
	buffer_end(shown, DMA_BUF_SYNC_READ);
	ledger_check_again(&pipeline->ledger, picture, sight.content);
	return sight;
}

static uint32_t own_crc(struct pipeline *pipeline, const struct sight *sight)
{
	return display_crc_of(&pipeline->display, sight->content, (uint32_t)sight->stride,
			      &pipeline->shown[pipeline->on_display]);
}

void pipeline_check_crc(struct pipeline *pipeline, struct sight *sight)
{
	uint8_t *middle = &sight->content[pipeline->size.height / 2 * sight->stride];
	uint32_t expected = own_crc(pipeline, sight), changed;

	*middle ^= 1;
	changed = own_crc(pipeline, sight);
	*middle ^= 1;
	if (changed == expected)
		broken("another bit has the same CRC 0x%08x, so equality proves nothing", changed);
	if (sight->crc != expected)
		fail("the display's CRC is 0x%08x, of the same content 0x%08x", sight->crc,
		     expected);
}

void pipeline_tell_quality(const struct pipeline *pipeline)
{
	const struct ledger *ledger = &pipeline->ledger;

	info("equal", "%s", ledger->equal == ledger->came ? "yes" : "no");
	if (!isinf(ledger->worst))
		sample("psnr", ledger->worst, "dB", "frames");
}
