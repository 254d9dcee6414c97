/* SPDX-License-Identifier: MIT */
/*
 * A stateful encoder and decoder, every queue of which is given dma-bufs: the caller's raw frames, and
 * buffers of one exporter for what is coded and what is decoded.
 *
 * As Documentation/userspace-api/media/v4l/dev-encoder.rst and dev-decoder.rst have it: formats are the
 * drivers' to adjust, a frame may be held back until later ones or a drain bring it out, and which buffer it
 * comes in is the driver's choice. Nothing tells what a decoded frame was made from but its timestamp.
 */
#ifndef FARM_CODEC_H
#define FARM_CODEC_H

#include "m2m.h"
#include "picture.h"
#include "pool.h"

enum codec_holder { CODEC_NOBODY, CODEC_ENCODER, CODEC_DECODER };

struct codec {
	struct m2m encoder, decoder;
	uint32_t coded;			/* fourcc of the coded format */
	const char *exporter;		/* of coded and decoded frames */
	unsigned int depth;		/* buffers a queue that were asked for; a driver may want more */
	struct picture picture;		/* a raw frame, as the encoder lays it out */
	struct picture decoded;		/* a decoded one, as the decoder does */
	struct picture coming[POOL_MAX];	/* each that the decoder was given and has not told of yet */
	unsigned int coming_count;
	struct picture told;		/* the one that it told of last */
	struct pool coded_pool, out;
	unsigned int raws;		/* buffers of the encoder's output queue */
	uint32_t raw_held;		/* bit i: raw buffer i is the encoder's */
	uint32_t raw_last;		/* the one that was put in last */
	uint32_t raw_seen, coded_seen;	/* bit i: raw buffer i was encoded, coded buffer i decoded */
	uint32_t out_held;		/* bit i: decoded buffer i is the decoder's */
	enum codec_holder coded_holder[POOL_MAX];
	uint32_t least_bytes;		/* of a coded frame; UINT32_MAX: there was none */
	unsigned int source_changes;	/* events that the decoder told */
	bool encoding, encoder_last;	/* the encoder's queues stream; its last frame has come */
	bool decoding, decoder_last;	/* the same of the decoder's capture queue */
	bool changing;			/* a source change, after the first, is under way */
};

/*
 * Opens both nodes of "m2m:…". Where they have controls, the encoder is to make key frames of its finest
 * quality only, and the decoder to hold nothing back. Coded and decoded frames will be in `exporter`'s
 * buffers.
 */
struct codec codec_open(const char *address, uint32_t coded, const char *exporter);
void codec_close(struct codec *codec);	/* which stops both, too */

/* Whether the encoder takes pictures of this format and size. */
bool codec_takes(const struct codec *codec, uint32_t fourcc, uint32_t width, uint32_t height);

/*
 * Sets the encoder, which may be running, to pictures of this kind and starts it; codec->picture and
 * codec->raws are then what it made of that. The decoder starts with the first frame that it gets.
 * `largest` is the largest picture that it will get. SKIP where a frame is in several buffers.
 */
void codec_start(struct codec *codec, uint32_t fourcc, uint32_t width, uint32_t height,
		 unsigned int depth, const struct picture *largest);
/* Stops the decoder wherever it is: what it has not given back is lost. Frames set it up anew. */
void codec_stop_decoder(struct codec *codec);

/* The next raw buffer, by its number below codec->raws, that the encoder does not have; false: it has all. */
bool codec_free_raw(const struct codec *codec, uint32_t *index);
/* Gives the encoder raw buffer `index`, which is the dma-buf `raw`. */
void codec_put(struct codec *codec, uint32_t index, int raw, uint64_t stamp_us);

/*
 * Waits until a buffer is done or an event comes, and hands on whatever is. True: a frame has been
 * decoded; its index is that in codec->out, until codec_give_back().
 */
bool codec_turn(struct codec *codec, struct v4l2_frame *decoded);
void codec_give_back(struct codec *codec, uint32_t index);

/* Each raw and each coded buffer has been through, so nothing more is to be imported. */
bool codec_warm(const struct codec *codec);

/*
 * V4L2_ENC_CMD_STOP, V4L2_DEC_CMD_STOP: what they hold comes out in codec_turn(), until encoder_last or
 * decoder_last. The encoder is drained first; codec_start() sets it going again. V4L2_DEC_CMD_START has a
 * drained decoder go on with its stream.
 */
void codec_drain_encoder(struct codec *codec);
void codec_drain_decoder(struct codec *codec);
void codec_resume_decoder(struct codec *codec);

#ifndef FARM_HELPERS
#define codec_open(...) FARM_AT(codec_open(__VA_ARGS__))
#define codec_start(...) FARM_AT(codec_start(__VA_ARGS__))
#define codec_stop_decoder(...) FARM_AT(codec_stop_decoder(__VA_ARGS__))
#define codec_put(...) FARM_AT(codec_put(__VA_ARGS__))
#define codec_turn(...) FARM_AT(codec_turn(__VA_ARGS__))
#define codec_give_back(...) FARM_AT(codec_give_back(__VA_ARGS__))
#define codec_drain_encoder(...) FARM_AT(codec_drain_encoder(__VA_ARGS__))
#define codec_drain_decoder(...) FARM_AT(codec_drain_decoder(__VA_ARGS__))
#define codec_resume_decoder(...) FARM_AT(codec_resume_decoder(__VA_ARGS__))
#endif

#endif
