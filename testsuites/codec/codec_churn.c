/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "codec.h"
#include "stress.h"

#include <math.h>

#define DEPTH 2u

static const struct { uint32_t width, height; } sizes[] = {
	{ 640, 360 }, { 720, 400 }, { 800, 480 },
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct chain {
	struct codec codec;
	struct pool raw, coded, out;
	struct picture picture, largest;
	uint32_t frame;
};

static struct picture picture_at(uint32_t size)
{
	return picture_of(V4L2_PIX_FMT_GREY, sizes[size].width, sizes[size].height);
}

static void replace(struct pool *pool, uint32_t index)
{
	buffer_close(&pool->buffer[index]);
	pool->buffer[index] = buffer_open(param_str("exporter"), pool->size);
	pool->fd[index] = pool->buffer[index].fd;
}

static void restart_encoder(struct chain *chain, const struct picture *picture)
{
	codec_stop_encoder(&chain->codec);
	chain->picture = *picture;
	codec_start(&chain->codec, picture, DEPTH, &chain->largest);
}

static void restart_decoder(struct chain *chain)
{
	codec_stop_decoder(&chain->codec);
	restart_encoder(chain, &chain->picture);
}

/* One frame through both, which must come back as it was. */
static void one_frame(struct chain *chain, uint32_t i)
{
	struct buffer *raw = &chain->raw.buffer[i], *out = &chain->out.buffer[i];
	uint32_t bytes;
	double psnr;

	picture_fill(&chain->picture, buffer_begin(raw, DMA_BUF_SYNC_WRITE), "blocks",
		     chain->frame++);
	buffer_end(raw, DMA_BUF_SYNC_WRITE);
	bytes = codec_encode(&chain->codec, i, raw->fd, chain->coded.fd[i]);
	codec_decode(&chain->codec, i, chain->coded.fd[i], bytes, out->fd);
	psnr = picture_psnr(buffer_begin(raw, DMA_BUF_SYNC_READ),
			    buffer_begin(out, DMA_BUF_SYNC_READ), chain->picture.size);
	buffer_end(out, DMA_BUF_SYNC_READ);
	buffer_end(raw, DMA_BUF_SYNC_READ);
	check(isinf(psnr), "frame %u of %ux%u came back with %.1f dB, expected equal",
	      chain->frame - 1, chain->picture.width, chain->picture.height, psnr);
}

static void churn(struct worker *worker)
{
	const char *exporter = param_str("exporter");
	struct chain chain = {
		.codec = codec_open(param_str("codec"), param_fourcc("coded")),
		.largest = picture_at(SIZES - 1), .picture = picture_at(0),
	};

	codec_start(&chain.codec, &chain.picture, DEPTH, &chain.largest);
	chain.raw = pool_open(exporter, DEPTH, chain.largest.size);
	chain.coded = pool_open(exporter, DEPTH, chain.codec.coded_size);
	chain.out = pool_open(exporter, DEPTH, chain.largest.size);
	one_frame(&chain, 0);

	while (next_round(worker)) {
		uint32_t what = decide(worker, 6), index = decide(worker, DEPTH);
		uint32_t size = decide(worker, SIZES);
		struct picture next = picture_at(size);

		switch (what) {
		case 0:
			restart_encoder(&chain, &next);
			break;
		case 1:
			restart_decoder(&chain);
			break;
		case 2:
			replace(&chain.raw, index);
			break;
		case 3:
			replace(&chain.out, index);
			break;
		case 4:
			codec_drain(&chain.codec, index, chain.out.fd[index]);
			restart_decoder(&chain);
			break;
		default:
			break;	/* one frame more */
		}
		one_frame(&chain, index);
		worker->operations += 1 + (what < 5);
	}

	codec_close(&chain.codec);
	pool_close(&chain.raw);
	pool_close(&chain.coded);
	pool_close(&chain.out);
}

CASE(codec_churn, "Codecs survive restarts, changes of size and of buffers, and give everything back",
     .timeout_ms = 120000, .needs = "smp",
     .params = "codec= coded=FWHT exporter=udmabuf seed=1 ms=500 rounds=0 workers=2")
{
	struct bufinfo before, after;

	bufinfo_raw(&before);
	window_begin();
	stress_threads((unsigned int)param_u64("workers"), churn, NULL);
	window_end("stress");
	if (!bufinfo_raw(&after))
		check(after.objects == before.objects && after.bytes == before.bytes,
		      "%lu dma-bufs of %llu bytes are left, before there were %lu of %llu",
		      after.objects, after.bytes, before.objects, before.bytes);
}
