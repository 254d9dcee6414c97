/* SPDX-License-Identifier: MIT */
/* Numbered test pictures that pass an encoder and a decoder, and are judged by what the codec declares. */
#ifndef FARM_STREAM_H
#define FARM_STREAM_H

#include "codec.h"
#include "ledger.h"

/* What a case that has a stream takes: the codec, its coded format, a raw one, content, and its quality. */
#define STREAM_PARAMS "codec= coded= format= content=blocks quality=exact exporter=udmabuf "

struct stream {
	struct codec codec;
	struct pool raw;
	const char *exporter, *raw_exporter;
	const char *content;		/* picture_fill() */
	struct ledger ledger;
};

/*
 * Opens the codec of the case's parameters (STREAM_PARAMS). Raw pictures are in raw_exporter's buffers, all
 * others in those of "exporter". SKIP unless it takes pictures of this size.
 */
struct stream stream_open(const char *raw_exporter, uint32_t width, uint32_t height);
void stream_close(struct stream *stream);

/* Starts the encoder for pictures of this size, or starts it anew; the largest will be `largest`. */
void stream_start(struct stream *stream, uint32_t width, uint32_t height, unsigned int depth,
		  const struct picture *largest);

/*
 * Puts pictures in until `count` more have come out, each of which is compared with what was put in. FAIL
 * if one comes out of turn or is worse than declared; of quality=none they are only told apart. What the
 * codecs do is in windows of this phase, unless NULL; filling and comparing are not.
 */
void stream_run(struct stream *stream, uint32_t count, const char *phase);

/* Brings out all that the encoder, and then the decoder, still have. */
void stream_drain_encoder(struct stream *stream);
void stream_drain(struct stream *stream);

#ifndef FARM_HELPERS
#define stream_open(...) FARM_AT(stream_open(__VA_ARGS__))
#define stream_start(...) FARM_AT(stream_start(__VA_ARGS__))
#define stream_run(...) FARM_AT(stream_run(__VA_ARGS__))
#define stream_drain_encoder(...) FARM_AT(stream_drain_encoder(__VA_ARGS__))
#define stream_drain(...) FARM_AT(stream_drain(__VA_ARGS__))
#endif

#endif
