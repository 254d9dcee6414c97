/* SPDX-License-Identifier: MIT */
/*
 * An encoder and a decoder at work at once: each has a thread, since a codec in software works in the
 * call that queues a buffer (vicodec: v4l2_m2m_try_run(), drivers/media/v4l2-core/v4l2-mem2mem.c, 6.12).
 * Coded buffers go round by two pipes: `made` to the decoder, `empty` back to the encoder.
 */
#include "farm.h"
#include "buffer.h"
#include "codec.h"

#include <poll.h>
#include <pthread.h>
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
	int made[2], empty[2];	/* pipes of struct v4l2_frame */
	uint64_t put;		/* pictures put in */
	uint32_t frames;	/* decoded so far */
};

static void put_raw(struct chain *chain, uint32_t index)
{
	codec_put(&chain->codec, index, chain->raw.fd[index], chain->put++ * 40000u);
}

static void put_all(struct chain *chain)
{
	uint32_t index;

	while (codec_free_raw(&chain->codec, &index))
		put_raw(chain, index);
}

/* The same in one thread, while the decoder is being set up. */
static void turn(struct chain *chain)
{
	struct v4l2_frame decoded;

	put_all(chain);
	if (codec_turn(&chain->codec, &decoded)) {
		codec_give_back(&chain->codec, decoded.index);
		chain->frames++;
	}
}

static void hand_on(const int *pipe, const struct v4l2_frame *frame)
{
	if (write(pipe[1], frame, sizeof(*frame)) != sizeof(*frame))
		broken("write to a pipe: %s", errname(errno));
}

/* The next frame; false at the pipe's end. */
static bool take(const int *pipe, struct v4l2_frame *frame)
{
	ssize_t got = read(pipe[0], frame, sizeof(*frame));

	if (got && got != sizeof(*frame))
		broken("read from a pipe: %s", errname(errno));
	return got;
}

/* The encoder's thread: encodes into coded buffers that are empty, until there will be none any more. */
static void *encode(void *arg)
{
	struct chain *chain = arg;
	struct m2m *encoder = &chain->codec.encoder;
	struct pollfd ready[] = {
		{ .fd = encoder->output.fd, .events = POLLIN | POLLOUT },
		{ .fd = chain->empty[0], .events = POLLIN },
	};
	struct v4l2_frame coded;

	for (;;) {
		if (poll(ready, 2, -1) <= 0)
			broken("poll: %s", errname(errno));
		if (ready[1].revents) {
			if (!take(chain->empty, &coded))
				return NULL;
			v4l2_queue(&encoder->capture, coded.index,
				   chain->codec.coded_pool.fd[coded.index]);
		}
		if (ready[0].revents & POLLIN) {
			coded = v4l2_dequeue_frame(&encoder->capture, 0);
			hand_on(chain->made, &coded);
		}
		if (ready[0].revents & POLLOUT)
			put_raw(chain, v4l2_dequeue(&encoder->output, 0));
	}
}

/* The decoder's side: hands on whatever it or the encoder has done. */
static void decode(struct chain *chain)
{
	struct codec *codec = &chain->codec;
	struct m2m *decoder = &codec->decoder;
	struct pollfd ready[] = {
		{ .fd = decoder->output.fd, .events = POLLIN | POLLOUT },
		{ .fd = chain->made[0], .events = POLLIN },
	};
	struct v4l2_frame frame;

	if (poll(ready, 2, PATIENCE_MS) <= 0)
		fail("no buffer was done within %d ms, after %u frames", PATIENCE_MS,
		     chain->frames);
	if (ready[1].revents && take(chain->made, &frame))
		v4l2_queue_stamped(&decoder->output, frame.index, codec->coded_pool.fd[frame.index],
				   frame.bytes, frame.stamp_us);
	if (ready[0].revents & POLLOUT) {
		frame.index = v4l2_dequeue(&decoder->output, 0);
		hand_on(chain->empty, &frame);
	}
	if (ready[0].revents & POLLIN) {
		codec_give_back(codec, v4l2_dequeue_frame(&decoder->capture, 0).index);
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
		decode(chain);
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
	pthread_t encoder;

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
	put_all(&chain);
	window_end("first");
	if (pipe(chain.made) || pipe(chain.empty) || pthread_create(&encoder, NULL, encode, &chain))
		broken("no pipes or no thread: %s", errname(errno));

	window_begin();
	for (uint32_t i = 0; i < windows; i++)
		snprintf(counted + strlen(counted), sizeof(counted) - strlen(counted), "%u ",
			 measure(&chain, &each[i], &busy[i]));
	window_end("steady");
	close(chain.empty[1]);
	pthread_join(encoder, NULL);
	close(chain.empty[0]);
	close(chain.made[0]);
	close(chain.made[1]);
	info("frames", "%s", counted);
	info("processors", "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	sort_u64(each, windows);
	sort_u64(busy, windows);
	sample("frame_rate", 1e9 / (double)percentile(each, windows, 500), "Hz", "steady");
	sample("frame_rate", 1e9 / (double)each[windows - 1], "Hz", "slowest");
	sample("frame_rate", 1e9 / (double)each[0], "Hz", "fastest");
	sample("frame_cpu_time", (double)percentile(busy, windows, 500), "ns", "steady");

	codec_close(codec);
	pool_close(&chain.raw);
}
