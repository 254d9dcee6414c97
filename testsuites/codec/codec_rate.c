/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "codec.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WINDOWS_MAX 32u
#define IDLE_TICK_NS 10000000ull	/* /proc/stat counts in USER_HZ */

/* Nanoseconds that all processors together have been idle; their count by the way. */
static uint64_t idle_ns(long *processors)
{
	unsigned long long user, nice, system, idle, iowait;
	char text[256];

	*processors = sysconf(_SC_NPROCESSORS_ONLN);
	if (read_file_raw("/proc/stat", text, sizeof(text)) < 0 ||
	    sscanf(text, "cpu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait) != 5)
		broken("/proc/stat does not begin with the processors' times");
	return (idle + iowait) * IDLE_TICK_NS;
}

struct chain {
	struct codec codec;
	struct pool raw;
	uint32_t put, frames;	/* put in, decoded so far */
};

/* Hands on whatever any queue has done; every buffer goes back to where it is wanted next. */
static void turn(struct chain *chain)
{
	struct codec *codec = &chain->codec;
	struct v4l2_frame decoded;
	uint32_t index;

	while (codec_free_raw(codec, &index))
		codec_put(codec, index, chain->raw.fd[index], chain->put++ * 40000ull);
	if (codec_turn(codec, &decoded)) {
		codec_give_back(codec, decoded.index);
		chain->frames++;
	}
}

/* One window: the frames that it had; what each of them took, and had of all processors, in ns. */
static uint32_t measure(struct chain *chain, uint64_t *each, uint64_t *busy)
{
	uint64_t least_ns = param_u64("least_ms") * 1000000, begin, took, idle, all;
	uint32_t least_frames = (uint32_t)param_u64("least_frames"), begun = chain->frames, frames;
	long processors;

	idle = idle_ns(&processors);
	begin = now_ns();
	do {
		turn(chain);
		took = now_ns() - begin;
		frames = chain->frames - begun;
	} while (frames < least_frames || took < least_ns);
	idle = idle_ns(&processors) - idle;
	all = (uint64_t)processors * took;
	*each = took / frames;
	*busy = all > idle ? (all - idle) / frames : 0;
	return frames;
}

CASE(codec_rate, "How many frames a second an encoder and a decoder pass on, and what they cost",
     .timeout_ms = 120000,
     .params = "codec= coded=FWHT format= width= height= depth=2 exporter=udmabuf "
	       "windows=5 least_ms=400 least_frames=6")
{
	uint32_t width = (uint32_t)param_u64("width"), height = (uint32_t)param_u64("height");
	uint32_t depth = (uint32_t)param_u64("depth");
	uint32_t windows = (uint32_t)param_u64("windows");
	uint64_t each[WINDOWS_MAX], busy[WINDOWS_MAX];	/* ns of a frame, in each window */
	char counted[12 * WINDOWS_MAX] = "";
	struct picture picture = picture_of(param_fourcc("format"), width, height);
	const char *exporter = param_str("exporter");
	struct chain chain = {
		.codec = codec_open(param_str("codec"), param_fourcc("coded"), exporter),
	};
	struct codec *codec = &chain.codec;

	if (!windows || windows > WINDOWS_MAX)
		broken("windows is %u, expected 1 to %u", windows, WINDOWS_MAX);
	if (!codec_takes(codec, picture.fourcc, width, height))
		skip("%s does not take %s of %ux%u", param_str("codec"), param_str("format"),
		     width, height);
	codec_start(codec, picture.fourcc, width, height, depth, &picture);
	chain.raw = pool_open(exporter, codec->raws, codec->encoder.output.size);
	for (uint32_t i = 0; i < codec->raws; i++) {
		picture_fill(&codec->picture,
			     buffer_begin(&chain.raw.buffer[i], DMA_BUF_SYNC_WRITE), "scene", i);
		buffer_end(&chain.raw.buffer[i], DMA_BUF_SYNC_WRITE);
	}

	/* The first frame sets the decoder up; others import what is left. */
	window_begin();
	while (!codec_warm(codec) || chain.frames < depth)
		turn(&chain);
	window_end("first");

	window_begin();
	for (uint32_t i = 0; i < windows; i++)
		snprintf(counted + strlen(counted), sizeof(counted) - strlen(counted), "%u ",
			 measure(&chain, &each[i], &busy[i]));
	window_end("steady");
	info("frames", "%s", counted);
	sort_u64(each, windows);
	sort_u64(busy, windows);
	sample("frame_rate", 1e9 / (double)percentile(each, windows, 500), "Hz", "steady");
	sample("frame_rate", 1e9 / (double)each[windows - 1], "Hz", "slowest");
	sample("frame_rate", 1e9 / (double)each[0], "Hz", "fastest");
	sample("frame_cpu_time", (double)percentile(busy, windows, 500), "ns", "steady");

	codec_close(codec);
	pool_close(&chain.raw);
}
