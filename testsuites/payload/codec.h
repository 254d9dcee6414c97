/* SPDX-License-Identifier: MIT */
/*
 * A stateful encoder and decoder, every queue of which is given dma-bufs. Each buffer has its place by
 * number: raw[i] at the encoder's output index i, coded[i] at its capture and the decoder's output index
 * i, out[i] at the decoder's capture index i.
 */
#ifndef FARM_CODEC_H
#define FARM_CODEC_H

#include "m2m.h"
#include "picture.h"
#include "pool.h"

#define CODEC_WAIT_MS 20000	/* for a frame: an emulator takes a second for a large one */

struct codec {
	struct m2m encoder, decoder;
	uint32_t coded;			/* fourcc of the coded format */
	struct picture picture;		/* what is encoded now */
	struct picture decoded;		/* what the decoder is set up for */
	unsigned int depth;		/* buffers per queue */
	size_t coded_size;		/* what a coded buffer needs */
	bool decoding;			/* both queues of the decoder stream */
};

/* Opens both nodes of "m2m:…", and has the encoder make key frames of its finest quality only, where it has controls. */
struct codec codec_open(const char *address, uint32_t coded);
void codec_close(struct codec *codec);	/* which stops both, too */

/* Whether the encoder takes pictures of this format and size. */
bool codec_takes(const struct codec *codec, uint32_t fourcc, uint32_t width, uint32_t height);

/*
 * Sets the encoder to pictures of this kind and starts it; the decoder starts with the first frame that
 * it gets. `largest` is the largest picture that it will get; sets coded_size.
 */
void codec_start(struct codec *codec, const struct picture *picture, unsigned int depth,
		 const struct picture *largest);
void codec_stop_encoder(struct codec *codec);
void codec_stop_decoder(struct codec *codec);

/* Encodes raw[index] into coded[index]: the bytes that it came to. */
uint32_t codec_encode(struct codec *codec, uint32_t index, int raw, int coded);

/*
 * Decodes coded[index] into out[index]. The first frame, and a frame of another size than the one
 * before, are a source change: the decoder tells it by an event, and the capture queue is set up anew.
 * Returns how often that was, 0 or 1.
 */
unsigned int codec_decode(struct codec *codec, uint32_t index, int coded, uint32_t bytes, int out);

/*
 * VIDIOC_DECODER_CMD with V4L2_DEC_CMD_STOP, when every frame has been dequeued: an empty buffer with
 * V4L2_BUF_FLAG_LAST comes. _START makes it go on with the stream.
 */
void codec_drain(struct codec *codec, uint32_t index, int out);
void codec_resume(struct codec *codec);

#ifndef FARM_HELPERS
#define codec_open(...) FARM_AT(codec_open(__VA_ARGS__))
#define codec_start(...) FARM_AT(codec_start(__VA_ARGS__))
#define codec_stop_encoder(...) FARM_AT(codec_stop_encoder(__VA_ARGS__))
#define codec_stop_decoder(...) FARM_AT(codec_stop_decoder(__VA_ARGS__))
#define codec_encode(...) FARM_AT(codec_encode(__VA_ARGS__))
#define codec_decode(...) FARM_AT(codec_decode(__VA_ARGS__))
#define codec_drain(...) FARM_AT(codec_drain(__VA_ARGS__))
#define codec_resume(...) FARM_AT(codec_resume(__VA_ARGS__))
#endif

#endif
