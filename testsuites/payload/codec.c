/* SPDX-License-Identifier: MIT */
/* A stateful encoder and decoder (Documentation/userspace-api/media/v4l/dev-decoder.rst, dev-encoder.rst). */
#define FARM_HELPERS
#include "calls.h"
#include "codec.h"

#include <linux/v4l2-controls.h>

struct codec codec_open(const char *address, uint32_t coded)
{
	struct codec codec = {
		.encoder = m2m_open(address, M2M_ENCODER, coded),
		.decoder = m2m_open(address, M2M_DECODER, coded),
		.coded = coded,
	};
	int fd = codec.encoder.output.fd;

	/* A control that the encoder does not have is left as it is. */
	v4l2_control_raw(fd, V4L2_CID_MPEG_VIDEO_GOP_SIZE, 1);
	v4l2_control_raw(fd, V4L2_CID_FWHT_I_FRAME_QP, 1);
	v4l2_control_raw(fd, V4L2_CID_MPEG_VIDEO_H264_I_FRAME_QP, 1);
	m2m_subscribe(&codec.decoder, V4L2_EVENT_SOURCE_CHANGE);
	return codec;
}

void codec_close(struct codec *codec)
{
	m2m_close(&codec->encoder);
	m2m_close(&codec->decoder);
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

void codec_start(struct codec *codec, const struct picture *picture, unsigned int depth,
		 const struct picture *largest)
{
	struct m2m *encoder = &codec->encoder, *decoder = &codec->decoder;

	codec->picture = *picture;
	codec->depth = depth;
	m2m_format(&encoder->output, picture->width, picture->height, picture->fourcc);
	if (encoder->output.size != picture->size)
		fail("the encoder's frames have %zu bytes, the picture %zu", encoder->output.size,
		     picture->size);
	m2m_current_format(&encoder->capture);
	if (encoder->capture.fourcc != codec->coded)
		m2m_format(&encoder->capture, picture->width, picture->height, codec->coded);
	m2m_request(&encoder->output, V4L2_MEMORY_DMABUF, depth);
	m2m_request(&encoder->capture, V4L2_MEMORY_DMABUF, depth);
	m2m_stream(encoder, true);

	if (!decoder->output.count) {
		m2m_format(&decoder->output, largest->width, largest->height, codec->coded);
		m2m_request(&decoder->output, V4L2_MEMORY_DMABUF, depth);
		v4l2_stream(&decoder->output, true);
		codec->coded_size = decoder->output.size;
	}
	if (codec->coded_size < encoder->capture.size)
		codec->coded_size = encoder->capture.size;
}

void codec_stop_encoder(struct codec *codec)
{
	stop(&codec->encoder.output);
	stop(&codec->encoder.capture);
}

void codec_stop_decoder(struct codec *codec)
{
	stop(&codec->decoder.output);
	if (codec->decoding)
		stop(&codec->decoder.capture);
	codec->decoding = false;
	codec->decoder.output.count = 0;
}

uint32_t codec_encode(struct codec *codec, uint32_t index, int raw, int coded)
{
	struct v4l2_frame made = m2m_run(&codec->encoder, index, raw, codec->picture.size, coded);

	if (!made.bytes)
		fail("the encoder made a frame of no bytes");
	return made.bytes;
}

/* After a source change: the format is what the stream says, the pixels what we ask for. */
static void start_capture(struct codec *codec)
{
	struct v4l2_queue *capture = &codec->decoder.capture;
	const struct picture *picture = &codec->picture;

	m2m_await_event(&codec->decoder, V4L2_EVENT_SOURCE_CHANGE, CODEC_WAIT_MS);
	m2m_current_format(capture);
	if (capture->width != picture->width || capture->height != picture->height)
		fail("the decoder sees a stream of %ux%u, the encoder was given %ux%u",
		     capture->width, capture->height, picture->width, picture->height);
	m2m_format(capture, picture->width, picture->height, picture->fourcc);
	m2m_request(capture, V4L2_MEMORY_DMABUF, codec->depth);
	codec->decoded = *picture;
}

unsigned int codec_decode(struct codec *codec, uint32_t index, int coded, uint32_t bytes, int out)
{
	struct v4l2_queue *capture = &codec->decoder.capture;
	unsigned int source_changes = 0;
	struct v4l2_frame made;
	uint32_t read;

	v4l2_queue_bytes(&codec->decoder.output, index, coded, bytes);
	if (!codec->decoding) {
		start_capture(codec);
		v4l2_stream(capture, true);
		codec->decoding = true;
		source_changes++;
	}
	v4l2_queue(capture, index, out);
	made = v4l2_dequeue_frame(capture, CODEC_WAIT_MS);
	if (made.flags & V4L2_BUF_FLAG_LAST && !made.bytes) {
		/* The last buffer of the stream as it was: what was queued is of another size. */
		stop(capture);
		start_capture(codec);
		v4l2_stream(capture, true);
		source_changes++;
		v4l2_queue(capture, index, out);
		made = v4l2_dequeue_frame(capture, CODEC_WAIT_MS);
	}
	read = v4l2_dequeue(&codec->decoder.output, CODEC_WAIT_MS);
	if (read != index || made.index != index || made.bytes != codec->picture.size)
		fail("buffers %u and %u came back with %u bytes, expected index %u and %zu bytes",
		     read, made.index, made.bytes, index, codec->picture.size);
	return source_changes;
}

static void decoder_command(struct codec *codec, uint32_t what, const char *name)
{
	struct v4l2_decoder_cmd decoder = { .cmd = what };

	must(command(codec->decoder.output.fd, VIDIOC_DECODER_CMD, &decoder), name);
}

void codec_drain(struct codec *codec, uint32_t index, int out)
{
	struct v4l2_queue *capture = &codec->decoder.capture;
	struct v4l2_frame last;

	decoder_command(codec, V4L2_DEC_CMD_STOP, "V4L2_DEC_CMD_STOP");
	v4l2_queue(capture, index, out);
	last = v4l2_dequeue_frame(capture, CODEC_WAIT_MS);
	if (!(last.flags & V4L2_BUF_FLAG_LAST) || last.bytes)
		fail("a drained decoder gives flags %#x and %u bytes, expected LAST and none",
		     last.flags, last.bytes);
}

void codec_resume(struct codec *codec)
{
	decoder_command(codec, V4L2_DEC_CMD_START, "V4L2_DEC_CMD_START");
}
