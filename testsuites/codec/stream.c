/* SPDX-License-Identifier: MIT */
#define FARM_HELPERS
#include "farm.h"
#include "stream.h"

#include <string.h>

struct stream stream_open(const char *raw_exporter, uint32_t width, uint32_t height)
{
	struct stream stream = {
		.exporter = param_str("exporter"), .raw_exporter = raw_exporter,
		.content = param_str("content"), .ledger = ledger_open(),
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
	ledger_close(&stream->ledger);
}

void stream_start(struct stream *stream, uint32_t width, uint32_t height, unsigned int depth,
		  const struct picture *largest)
{
	struct codec *codec = &stream->codec;
	size_t size;

	if (codec->raw_held)
		stream->ledger.lossy = true;
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
	const struct picture *picture = &stream->codec.picture;
	struct buffer *buffer = &stream->raw.buffer[index];
	uint32_t number = stream->ledger.put;
	uint8_t *expected = ledger_enter(&stream->ledger, picture);

	picture_fill(picture, expected, stream->content, number);
	memcpy(buffer_begin(buffer, DMA_BUF_SYNC_WRITE), expected, picture->size);
	buffer_end(buffer, DMA_BUF_SYNC_WRITE);
}

/* Compares what came out with what was put in, and blots it out: what comes next is the decoder's. */
static void judge(struct stream *stream, const struct v4l2_frame *decoded)
{
	const struct picture *picture = &stream->codec.decoded;
	struct buffer *buffer = &stream->codec.out.buffer[decoded->index];
	uint8_t *seen = buffer_begin(buffer, DMA_BUF_SYNC_RW);

	ledger_check(&stream->ledger, decoded, picture, seen);
	memset(seen, 0, picture->size);
	buffer_end(buffer, DMA_BUF_SYNC_RW);
}

static void take(struct stream *stream, const struct v4l2_frame *decoded)
{
	judge(stream, decoded);
	codec_give_back(&stream->codec, decoded->index);
}

void stream_run(struct stream *stream, uint32_t count, const char *phase)
{
	struct codec *codec = &stream->codec;
	uint32_t until = stream->ledger.came + count, index, other;

	while (stream->ledger.came < until) {
		bool put = codec_free_raw(codec, &index), came;
		struct v4l2_frame decoded;

		if (put)
			draw(stream, index);
		if (phase)
			window_begin();
		if (put)
			codec_put(codec, index, stream->raw.fd[index],
				  ledger_stamp(&stream->ledger));
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
	if (!stream->ledger.lossy && stream->ledger.came != stream->ledger.put)
		fail("a drained decoder has given %u frames of %u", stream->ledger.came,
		     stream->ledger.put);
}
