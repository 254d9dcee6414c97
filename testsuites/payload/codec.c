/* SPDX-License-Identifier: MIT */
/* A stateful encoder and decoder (Documentation/userspace-api/media/v4l/dev-decoder.rst, dev-encoder.rst). */
#define FARM_HELPERS
#include "calls.h"
#include "codec.h"

#include <linux/v4l2-controls.h>
#include <poll.h>
#include <string.h>

static const struct {
	uint32_t id;
	int32_t value;
} finest[] = {
	{ V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, 0 },
	{ V4L2_CID_MPEG_VIDEO_BITRATE, 100000000 },
	{ V4L2_CID_MPEG_VIDEO_GOP_SIZE, 1 },
	{ V4L2_CID_MPEG_VIDEO_B_FRAMES, 0 },
	{ V4L2_CID_MPEG_VIDEO_HEADER_MODE, V4L2_MPEG_VIDEO_HEADER_MODE_JOINED_WITH_1ST_FRAME },
	{ V4L2_CID_MPEG_VIDEO_PREPEND_SPSPPS_TO_IDR, 1 },
	{ V4L2_CID_FWHT_I_FRAME_QP, 1 },
	{ V4L2_CID_MPEG_VIDEO_H264_I_FRAME_QP, 1 },
	{ V4L2_CID_MPEG_VIDEO_HEVC_I_FRAME_QP, 1 },
	{ V4L2_CID_JPEG_COMPRESSION_QUALITY, 100 },
};

struct codec codec_open(const char *address, uint32_t coded, const char *exporter)
{
	struct codec codec = {
		.encoder = m2m_open(address, M2M_ENCODER, coded),
		.decoder = m2m_open(address, M2M_DECODER, coded),
		.coded = coded,
		.exporter = exporter,
		.least_bytes = UINT32_MAX,
	};
	int decoder = codec.decoder.output.fd;

	/* A control that they do not have is left as it is. */
	for (size_t i = 0; i < sizeof(finest) / sizeof(finest[0]); i++)
		v4l2_control_raw(codec.encoder.output.fd, finest[i].id, finest[i].value);
	v4l2_control_raw(decoder, V4L2_CID_MPEG_VIDEO_DEC_DISPLAY_DELAY_ENABLE, 1);
	v4l2_control_raw(decoder, V4L2_CID_MPEG_VIDEO_DEC_DISPLAY_DELAY, 0);
	m2m_subscribe(&codec.decoder, V4L2_EVENT_SOURCE_CHANGE);
	return codec;
}

void codec_close(struct codec *codec)
{
	m2m_close(&codec->encoder);
	m2m_close(&codec->decoder);
	pool_close(&codec->coded_pool);
	pool_close(&codec->out);
}

bool codec_takes(const struct codec *codec, uint32_t fourcc, uint32_t width, uint32_t height)
{
	const struct v4l2_queue *raw = &codec->encoder.output;

	return m2m_has_format(raw, fourcc) && m2m_has_size(raw, fourcc, width, height);
}

static void stop(struct v4l2_queue *queue)
{
	v4l2_stream(queue, false);
	v4l2_request(queue, V4L2_MEMORY_DMABUF, 0);
}

/* --- setting up ------------------------------------------------------------------------------------ */

/* Requests `depth` buffers, or as many as the driver needs at the least: their number. */
static unsigned int request(struct v4l2_queue *queue, uint32_t depth, uint32_t control)
{
	struct v4l2_control least = { .id = control };

	if (!command(queue->fd, VIDIOC_G_CTRL, &least) && least.value > (int32_t)depth)
		depth = (uint32_t)least.value;
	m2m_request(queue, V4L2_MEMORY_DMABUF, depth);
	if (queue->count > POOL_MAX)
		broken("the driver wants %u buffers, the case makes at most %u", queue->count,
		       POOL_MAX);
	return queue->count;
}

/* Sets an encoder's raw format, which may be padded, and the part of it that is the picture. */
static struct picture raw_format(struct v4l2_queue *queue, uint32_t fourcc, uint32_t width,
				 uint32_t height)
{
	struct v4l2_selection crop = {
		.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .target = V4L2_SEL_TGT_CROP,
		.r = { .width = width, .height = height },
	};

	m2m_take_format(queue, width, height, fourcc);
	if (queue->fourcc != fourcc || queue->width < width || queue->height < height)
		fail("asked for %ux%u %.4s, got %ux%u %.4s", width, height, (const char *)&fourcc,
		     queue->width, queue->height, (const char *)&queue->fourcc);
	if (queue->width != width || queue->height != height) {
		must(command(queue->fd, VIDIOC_S_SELECTION, &crop), "VIDIOC_S_SELECTION");
		if (crop.r.width != width || crop.r.height != height)
			fail("asked for a crop of %ux%u, got %ux%u", width, height, crop.r.width,
			     crop.r.height);
	}
	return picture_laid_out(fourcc, width, height, queue->stride, queue->height);
}

/* Coded buffers, once: those of the largest picture, as many as the encoder's queue has. */
static void coded_buffers(struct codec *codec, const struct picture *largest)
{
	struct v4l2_queue *from = &codec->encoder.capture, *to = &codec->decoder.output;
	size_t size;

	if (!to->count) {
		m2m_take_format(to, largest->width, largest->height, codec->coded);
		m2m_request(to, V4L2_MEMORY_DMABUF,
			    codec->coded_pool.count ? codec->coded_pool.count : from->count);
		v4l2_stream(to, true);
	}
	size = from->size > to->size ? from->size : to->size;
	if (!codec->coded_pool.count)
		codec->coded_pool = pool_open(codec->exporter, from->count, size);
	if (from->count < codec->coded_pool.count || codec->coded_pool.size < from->size)
		broken("the encoder has %u coded buffers of %zu bytes, before it were %u of %zu",
		       from->count, from->size, codec->coded_pool.count, codec->coded_pool.size);
}

static void coded_to_encoder(struct codec *codec, uint32_t index)
{
	v4l2_queue(&codec->encoder.capture, index, codec->coded_pool.fd[index]);
	codec->coded_holder[index] = CODEC_ENCODER;
}

void codec_start(struct codec *codec, uint32_t fourcc, uint32_t width, uint32_t height,
		 unsigned int depth, const struct picture *largest)
{
	struct m2m *encoder = &codec->encoder;

	if (codec->encoding) {
		stop(&encoder->output);
		stop(&encoder->capture);
	}
	codec->depth = depth;
	codec->raw_held = 0;
	codec->encoder_last = false;
	m2m_take_format(&encoder->capture, width, height, codec->coded);
	codec->picture = raw_format(&encoder->output, fourcc, width, height);
	m2m_current_format(&encoder->capture);
	codec->raws = request(&encoder->output, depth, V4L2_CID_MIN_BUFFERS_FOR_OUTPUT);
	m2m_request(&encoder->capture, V4L2_MEMORY_DMABUF, depth);
	coded_buffers(codec, largest);
	m2m_stream(encoder, true);
	codec->encoding = true;
	for (uint32_t i = codec->coded_pool.count; i-- > 0;)
		if (codec->coded_holder[i] != CODEC_DECODER)
			coded_to_encoder(codec, i);
}

void codec_stop_decoder(struct codec *codec)
{
	stop(&codec->decoder.output);
	if (codec->decoding)
		stop(&codec->decoder.capture);
	m2m_forget_events(&codec->decoder);	/* they are of the stream that is no more */
	codec->decoding = codec->decoder_last = codec->changing = false;
	codec->coming_count = 0;
	codec->told = (struct picture){ 0 };
	codec->decoder.output.count = 0;
	codec->out_held = 0;
	for (uint32_t i = 0; i < codec->coded_pool.count; i++)
		if (codec->coded_holder[i] == CODEC_DECODER)
			codec->coded_holder[i] = CODEC_NOBODY;
}

/* The part of a decoded frame that is the picture: the format's size where the driver does not tell. */
static struct v4l2_rect visible(const struct v4l2_queue *capture)
{
	struct v4l2_selection selection = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .target = V4L2_SEL_TGT_COMPOSE,
	};

	if (command(capture->fd, VIDIOC_G_SELECTION, &selection))
		return (struct v4l2_rect){ .width = capture->width, .height = capture->height };
	return selection.r;
}

void codec_give_back(struct codec *codec, uint32_t index)
{
	v4l2_queue(&codec->decoder.capture, index, codec->out.fd[index]);
	codec->out_held |= 1u << index;
}

static bool alike(const struct picture *one, const struct picture *other)
{
	return one->fourcc == other->fourcc && one->width == other->width &&
	       one->height == other->height;
}

/* The decoder is given a frame of the encoder's; of pictures of another kind it will tell. */
static void give_decoder(struct codec *codec, const struct v4l2_frame *frame)
{
	const struct picture *last = codec->coming_count ?
		&codec->coming[codec->coming_count - 1] : &codec->told;

	if (!alike(last, &codec->picture)) {
		if (codec->coming_count == POOL_MAX)
			fail("the decoder took %u changes of its stream and told of none", POOL_MAX);
		codec->coming[codec->coming_count++] = codec->picture;
	}
	v4l2_queue_stamped(&codec->decoder.output, frame->index, codec->coded_pool.fd[frame->index],
			   frame->bytes, frame->stamp_us);
	codec->coded_holder[frame->index] = CODEC_DECODER;
	codec->coded_seen |= 1u << frame->index;
}

/* What the decoder tells of now. The encoder may have gone on to another since. */
static const struct picture *next_picture(struct codec *codec)
{
	if (codec->coming_count) {
		codec->told = codec->coming[0];
		memmove(codec->coming, codec->coming + 1,
			--codec->coming_count * sizeof(codec->coming[0]));
	}
	return &codec->told;
}

/* After a source change: the size is what the stream says, the pixels what the encoder was given. */
static void start_capture(struct codec *codec)
{
	struct v4l2_queue *capture = &codec->decoder.capture;
	const struct picture *picture = next_picture(codec);
	struct v4l2_rect part;

	m2m_current_format(capture);
	if (capture->fourcc != picture->fourcc)
		m2m_take_format(capture, capture->width, capture->height, picture->fourcc);
	if (capture->fourcc != picture->fourcc)
		skip("the decoder gives %.4s and cannot give %.4s, as the encoder was given",
		     (const char *)&capture->fourcc, (const char *)&picture->fourcc);
	part = visible(capture);
	if (part.left || part.top || part.width != picture->width || part.height != picture->height)
		fail("the decoder sees a stream of %ux%u at (%d, %d), the encoder was given %ux%u",
		     part.width, part.height, part.left, part.top, picture->width,
		     picture->height);
	codec->decoded = picture_laid_out(picture->fourcc, picture->width, picture->height,
					  capture->stride, capture->height);
	request(capture, codec->depth, V4L2_CID_MIN_BUFFERS_FOR_CAPTURE);
	if (codec->out.count < capture->count || codec->out.size < capture->size) {
		pool_close(&codec->out);
		codec->out = pool_open(codec->exporter, capture->count, capture->size);
	}
	v4l2_stream(capture, true);
	codec->decoding = true;
	codec->decoder_last = codec->changing = false;
	codec->out_held = 0;
	for (uint32_t i = capture->count; i-- > 0;)	/* no index has a meaning */
		codec_give_back(codec, i);
}

/* --- frames ---------------------------------------------------------------------------------------- */

bool codec_free_raw(const struct codec *codec, uint32_t *index)
{
	for (uint32_t i = 1; i <= codec->raws; i++) {
		*index = (codec->raw_last + i) % codec->raws;
		if (!(codec->raw_held & 1u << *index))
			return true;
	}
	return false;
}

void codec_put(struct codec *codec, uint32_t index, int raw, uint64_t stamp_us)
{
	struct v4l2_queue *output = &codec->encoder.output;

	v4l2_queue_stamped(output, index, raw, output->size, stamp_us);
	codec->raw_held |= 1u << index;
	codec->raw_last = index;
	codec->raw_seen |= 1u << index;
}

bool codec_warm(const struct codec *codec)
{
	return codec->raw_seen == (1u << codec->raws) - 1 &&
	       codec->coded_seen == (1u << codec->coded_pool.count) - 1;
}

static bool holds(const struct codec *codec, enum codec_holder who)
{
	for (uint32_t i = 0; i < codec->coded_pool.count; i++)
		if (codec->coded_holder[i] == who)
			return true;
	return false;
}

static void turn_encoder(struct codec *codec, int ready)
{
	struct m2m *encoder = &codec->encoder;
	struct v4l2_frame frame;

	if (ready & POLLOUT)
		codec->raw_held &= ~(1u << v4l2_dequeue(&encoder->output, 0));
	if (!(ready & POLLIN))
		return;
	frame = v4l2_dequeue_frame(&encoder->capture, 0);
	codec->encoder_last = frame.flags & V4L2_BUF_FLAG_LAST;
	codec->coded_holder[frame.index] = CODEC_NOBODY;
	if (!frame.bytes && !codec->encoder_last)
		fail("the encoder made a frame of no bytes");
	if (!frame.bytes)
		return;
	if (frame.bytes < codec->least_bytes)
		codec->least_bytes = frame.bytes;
	give_decoder(codec, &frame);
}

static void source_event(struct codec *codec)
{
	m2m_await_event(&codec->decoder, V4L2_EVENT_SOURCE_CHANGE, 0);
	codec->source_changes++;
	if (codec->decoding)
		codec->changing = true;
	else
		start_capture(codec);
}

static bool turn_decoder(struct codec *codec, int ready, struct v4l2_frame *decoded)
{
	struct m2m *decoder = &codec->decoder;
	uint32_t index;

	if (ready & POLLPRI)
		source_event(codec);
	if (ready & POLLOUT) {
		index = v4l2_dequeue(&decoder->output, 0);
		codec->coded_holder[index] = CODEC_NOBODY;
		if (!codec->encoder_last)
			coded_to_encoder(codec, index);
	}
	if (!(ready & POLLIN))
		return false;
	*decoded = v4l2_dequeue_frame(&decoder->capture, 0);
	codec->out_held &= ~(1u << decoded->index);
	codec->decoder_last = decoded->flags & V4L2_BUF_FLAG_LAST;
	return decoded->bytes;
}

/* What is to be asked of a queue: nothing where there is nothing queued, which poll() calls an error. */
static struct pollfd interest(const struct m2m *m2m, bool output, bool capture)
{
	return (struct pollfd){
		.fd = output || capture ? m2m->output.fd : -1,
		.events = (short)(POLLPRI | (output ? POLLOUT : 0) | (capture ? POLLIN : 0)),
	};
}

bool codec_turn(struct codec *codec, struct v4l2_frame *decoded)
{
	struct pollfd ready[2];

	/* What was before a source change is out, and its last buffer is the caller's no more. */
	if (codec->changing && codec->decoder_last) {
		stop(&codec->decoder.capture);
		start_capture(codec);
	}
	ready[0] = interest(&codec->encoder, codec->raw_held,
			    !codec->encoder_last && holds(codec, CODEC_ENCODER));
	ready[1] = interest(&codec->decoder, holds(codec, CODEC_DECODER),
			    codec->decoding && !codec->decoder_last && codec->out_held);
	if (poll(ready, 2, PATIENCE_MS) <= 0)
		fail("no buffer was done within %d ms: the encoder has raw %#x, the decoder %#x",
		     PATIENCE_MS, codec->raw_held, codec->out_held);
	for (unsigned int i = 0; i < 2; i++)
		if ((ready[i].revents & (POLLERR | POLLIN | POLLOUT | POLLPRI)) == POLLERR)
			fail("poll of the %s says POLLERR alone", i ? "decoder" : "encoder");
	turn_encoder(codec, ready[0].revents & ready[0].events);
	return turn_decoder(codec, ready[1].revents & ready[1].events, decoded);
}

/* --- draining -------------------------------------------------------------------------------------- */

static void decoder_command(struct codec *codec, uint32_t what, const char *name)
{
	struct v4l2_decoder_cmd decoder = { .cmd = what };

	must(command(codec->decoder.output.fd, VIDIOC_DECODER_CMD, &decoder), name);
}

void codec_drain_encoder(struct codec *codec)
{
	struct v4l2_encoder_cmd encoder = { .cmd = V4L2_ENC_CMD_STOP };

	must(command(codec->encoder.output.fd, VIDIOC_ENCODER_CMD, &encoder), "V4L2_ENC_CMD_STOP");
}

void codec_drain_decoder(struct codec *codec)
{
	decoder_command(codec, V4L2_DEC_CMD_STOP, "V4L2_DEC_CMD_STOP");
}

void codec_resume_decoder(struct codec *codec)
{
	decoder_command(codec, V4L2_DEC_CMD_START, "V4L2_DEC_CMD_START");
	codec->decoder_last = false;
	for (uint32_t i = 0; i < codec->decoder.capture.count; i++)
		if (!(codec->out_held & 1u << i))
			codec_give_back(codec, i);
}
