/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_US 40000u	/* between two pictures' timestamps, which tell their numbers */

/* "exact", "none" or the least PSNR in dB. */
static double least_db(void)
{
	const char *quality = param_str("quality");
	char *end;
	double value;

	if (!strcmp(quality, "exact"))
		return INFINITY;
	if (!strcmp(quality, "none"))
		return 0;
	value = strtod(quality, &end);
	if (*end || !(value > 0))
		broken("quality is '%s', expected exact, none or a number of dB", quality);
	return value;
}

struct stream stream_open(const char *raw_exporter, uint32_t width, uint32_t height)
{
	struct stream stream = {
		.exporter = param_str("exporter"), .raw_exporter = raw_exporter,
		.content = param_str("content"), .least_db = least_db(),
		.worst = INFINITY, .changed = UINT32_MAX,
	};
	uint32_t fourcc = param_fourcc("format");

	stream.codec = codec_open(param_str("codec"), param_fourcc("coded"), stream.exporter);
	if (!codec_takes(&stream.codec, fourcc, width, height))
		skip("%s does not take %s of %ux%u", param_str("codec"), param_str("format"), width,
		     height);
	return stream;
}

void stream_close(struct stream *stream)
{
	codec_close(&stream->codec);
	pool_close(&stream->raw);
	for (unsigned int i = 0; i < STREAM_AHEAD; i++)
		free(stream->expected[i]);
}

void stream_start(struct stream *stream, uint32_t width, uint32_t height, unsigned int depth,
		  const struct picture *largest)
{
	struct codec *codec = &stream->codec;
	size_t size;

	if (codec->raw_held)
		stream->lossy = true;
	codec_start(codec, param_fourcc("format"), width, height, depth, largest);
	size = codec->encoder.output.size;
	if (stream->raw.count < codec->raws || stream->raw.size < size) {
		pool_close(&stream->raw);
		stream->raw = pool_open(stream->raw_exporter, codec->raws, size);
	}
}

/* The next picture, into a raw buffer and into what is kept to compare with. */
static void draw(struct stream *stream, uint32_t index)
{
	uint32_t at = stream->put % STREAM_AHEAD;
	const struct picture *picture = &stream->codec.picture;
	struct buffer *buffer = &stream->raw.buffer[index];
	uint8_t *expected = realloc(stream->expected[at], picture->size);

	if (!expected)
		broken("no memory for a picture");
	memset(expected, 0, picture->size);
	picture_fill(picture, expected, stream->content, stream->put);
	stream->expected[at] = expected;
	stream->layout[at] = *picture;
	memcpy(buffer_begin(buffer, DMA_BUF_SYNC_WRITE), expected, picture->size);
	buffer_end(buffer, DMA_BUF_SYNC_WRITE);
}

/* Compares what came out with what was put in, and blots it out: what comes next is the decoder's. */
static void judge(struct stream *stream, const struct v4l2_frame *decoded)
{
	uint32_t number = (uint32_t)((decoded->stamp_us + FRAME_US / 2) / FRAME_US);
	const struct picture *layout = &stream->layout[number % STREAM_AHEAD];
	const struct picture *picture = &stream->codec.decoded;
	struct buffer *buffer = &stream->codec.out.buffer[decoded->index];
	struct difference difference;
	uint8_t *seen;

	if (number >= stream->put || number < stream->next ||
	    (number > stream->next && !stream->lossy) || stream->put - number > STREAM_AHEAD)
		fail("a frame comes out with the timestamp of number %u, expected %u of %u", number,
		     stream->next, stream->put);
	stream->next = number + 1;
	stream->came++;
	seen = buffer_begin(buffer, DMA_BUF_SYNC_RW);
	difference = picture_difference(layout, stream->expected[number % STREAM_AHEAD], picture,
					seen);
	memset(seen, 0, picture->size);
	buffer_end(buffer, DMA_BUF_SYNC_RW);
	if (isinf(difference.psnr))
		stream->equal++;
	else if (difference.psnr < stream->worst)
		stream->worst = difference.psnr;
	if (difference.component < layout->components && difference.component < stream->changed)
		stream->changed = difference.component;
	if (difference.psnr < stream->least_db)
		fail("frame %u of %ux%u came back with %.1f dB, expected %s", number, layout->width,
		     layout->height, difference.psnr, param_str("quality"));
}

static void take(struct stream *stream, const struct v4l2_frame *decoded)
{
	judge(stream, decoded);
	codec_give_back(&stream->codec, decoded->index);
}

void stream_run(struct stream *stream, uint32_t count, const char *phase)
{
	struct codec *codec = &stream->codec;
	uint32_t until = stream->came + count, index, other;

	while (stream->came < until) {
		bool put = codec_free_raw(codec, &index), came;
		struct v4l2_frame decoded;

		if (put)
			draw(stream, index);
		if (phase)
			window_begin();
		if (put)
			codec_put(codec, index, stream->raw.fd[index],
				  (uint64_t)stream->put++ * FRAME_US);
		do {
			came = codec_turn(codec, &decoded);
		} while (!came && !codec_free_raw(codec, &other));
		if (phase)
			window_end(phase);
		if (came)
			take(stream, &decoded);
	}
}

void stream_drain_encoder(struct stream *stream)
{
	struct codec *codec = &stream->codec;
	struct v4l2_frame decoded;

	codec_drain_encoder(codec);
	while (!codec->encoder_last)
		if (codec_turn(codec, &decoded))
			take(stream, &decoded);
}

void stream_drain(struct stream *stream)
{
	struct codec *codec = &stream->codec;
	struct v4l2_frame decoded;

	if (!codec->encoder_last)
		stream_drain_encoder(stream);
	codec_drain_decoder(codec);
	while (!codec->decoder_last || codec->changing)
		if (codec_turn(codec, &decoded))
			take(stream, &decoded);
	if (!stream->lossy && stream->came != stream->put)
		fail("a drained decoder has given %u frames of %u", stream->came, stream->put);
}
