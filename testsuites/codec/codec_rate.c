/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "codec.h"

#include <poll.h>
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
	struct pool raw, coded, out;
	uint32_t frames;	/* decoded so far */
};

/* Hands on whatever any queue has done; every buffer goes back to where it is wanted next. */
static void turn(struct chain *chain)
{
	struct m2m *encoder = &chain->codec.encoder, *decoder = &chain->codec.decoder;
	struct pollfd ready[] = {
		{ .fd = encoder->output.fd, .events = POLLIN | POLLOUT },
		{ .fd = decoder->output.fd, .events = POLLIN | POLLOUT },
	};
	struct v4l2_frame frame;

	if (poll(ready, 2, CODEC_WAIT_MS) <= 0)
		fail("no buffer was done within %d ms, after %u frames", CODEC_WAIT_MS,
		     chain->frames);
	if (ready[0].revents & POLLIN) {
		frame = v4l2_dequeue_frame(&encoder->capture, 0);
		v4l2_queue_bytes(&decoder->output, frame.index, chain->coded.fd[frame.index],
				 frame.bytes);
	}
	if (ready[0].revents & POLLOUT) {
		frame = v4l2_dequeue_frame(&encoder->output, 0);
		v4l2_queue(&encoder->output, frame.index, chain->raw.fd[frame.index]);
	}
	if (ready[1].revents & POLLOUT) {
		frame = v4l2_dequeue_frame(&decoder->output, 0);
		v4l2_queue(&encoder->capture, frame.index, chain->coded.fd[frame.index]);
	}
	if (ready[1].revents & POLLIN) {
		frame = v4l2_dequeue_frame(&decoder->capture, 0);
		v4l2_queue(&decoder->capture, frame.index, chain->out.fd[frame.index]);
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
     .params = "codec= coded=FWHT format=YU12 width= height= depth=2 exporter=udmabuf "
	       "windows=5 least_ms=400 least_frames=6")
{
	uint32_t width = (uint32_t)param_u64("width"), height = (uint32_t)param_u64("height");
	uint32_t depth = (uint32_t)param_u64("depth"), bytes;
	uint32_t windows = (uint32_t)param_u64("windows");
	uint64_t each[WINDOWS_MAX], busy[WINDOWS_MAX];	/* ns of a frame, in each window */
	char counted[12 * WINDOWS_MAX] = "";
	struct picture picture = picture_of(param_fourcc("format"), width, height);
	const char *exporter = param_str("exporter");
	struct chain chain = {
		.codec = codec_open(param_str("codec"), param_fourcc("coded")),
	};
	struct codec *codec = &chain.codec;

	if (!windows || windows > WINDOWS_MAX)
		broken("windows is %u, expected 1 to %u", windows, WINDOWS_MAX);
	if (!codec_takes(codec, picture.fourcc, width, height))
		skip("%s does not take %s of %ux%u", param_str("codec"), param_str("format"),
		     width, height);
	codec_start(codec, &picture, depth, &picture);
	chain.raw = pool_open(exporter, depth, picture.size);
	chain.coded = pool_open(exporter, depth, codec->coded_size);
	chain.out = pool_open(exporter, depth, picture.size);
	for (uint32_t i = 0; i < depth; i++) {
		picture_fill(&picture, buffer_begin(&chain.raw.buffer[i], DMA_BUF_SYNC_WRITE),
			     "scene", i);
		buffer_end(&chain.raw.buffer[i], DMA_BUF_SYNC_WRITE);
	}

	/* The first frame sets the decoder up; another round warms up, and imports what is left. */
	window_begin();
	bytes = codec_encode(codec, 0, chain.raw.fd[0], chain.coded.fd[0]);
	codec_decode(codec, 0, chain.coded.fd[0], bytes, chain.out.fd[0]);
	for (uint32_t i = 0; i < depth; i++) {
		v4l2_queue(&codec->decoder.capture, i, chain.out.fd[i]);
		v4l2_queue(&codec->encoder.capture, i, chain.coded.fd[i]);
		v4l2_queue(&codec->encoder.output, i, chain.raw.fd[i]);
	}
	while (chain.frames < depth)
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
	pool_close(&chain.coded);
	pool_close(&chain.out);
}
