/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "stream.h"
#include "stress.h"

#define DEPTH 2u

static const struct { uint32_t width, height; } sizes[] = {
	{ 640, 368 }, { 720, 400 }, { 800, 480 },
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* The encoder is stopped wherever it is, and set to another size; the decoder follows. */
static void restart(struct stream *stream, uint32_t size)
{
	struct picture largest = picture_of(param_fourcc("format"), sizes[SIZES - 1].width,
					    sizes[SIZES - 1].height);

	stream_start(stream, sizes[size].width, sizes[size].height, DEPTH, &largest);
}

/* Of the decoder what it still has is lost; without its headers the stream means nothing to it. */
static void restart_both(struct stream *stream, uint32_t size)
{
	stream->ledger.lossy = true;
	codec_stop_decoder(&stream->codec);
	restart(stream, size);
}

static void churn(struct worker *worker)
{
	struct stream stream = stream_open(param_str("exporter"), sizes[SIZES - 1].width,
					   sizes[SIZES - 1].height);
	struct codec *codec = &stream.codec;
	uint32_t now = 0, index;

	restart(&stream, now);
	stream_run(&stream, 1, NULL);
	while (next_round(worker)) {
		uint32_t what = decide(worker, 5), size = decide(worker, SIZES);

		switch (what) {
		case 0:
			stream_drain_encoder(&stream);
			restart(&stream, now = size);
			break;
		case 1:
			restart_both(&stream, now = size);
			break;
		case 2:
			if (codec_free_raw(codec, &index))
				pool_replace(&stream.raw, index, stream.exporter);
			break;
		case 3:
			stream_drain(&stream);
			for (uint32_t i = 0; i < codec->out.count; i++)
				pool_replace(&codec->out, i, stream.exporter);
			restart_both(&stream, now);
			break;
		default:
			break;	/* one frame more */
		}
		stream_run(&stream, 1, NULL);
		worker->operations += 1 + (what < 4);
	}
	stream_close(&stream);
}

CASE(codec_churn, "Codecs survive restarts, changes of size and of buffers, and give everything back",
     .timeout_ms = 120000, .needs = "smp",
     .params = STREAM_PARAMS "seed=1 ms=500 rounds=0 workers=2")
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
