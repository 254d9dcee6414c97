/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "timing.h"

#include <unistd.h>

static uint32_t counted_import(int drm, int buffer, const char *phase)
{
	uint32_t handle;

	window_begin();
	handle = prime_import(drm, buffer);
	window_end(phase);
	return handle;
}

static void timed_import(int drm, int buffer, const char *phase)
{
	uint64_t begin, end;

	timing_begin();
	begin = now_ns();
	prime_import(drm, buffer);
	end = now_ns();
	timing_end();
	sample("import_time", (double)(end - begin), "ns", phase);
}

struct known {
	int drm, buffer;
};

static void import_known(void *arg)
{
	struct known *known = arg;

	prime_import(known->drm, known->buffer);
}

/* Once is what it costs cold; this is what it costs a program that goes on doing it. */
static void time_known(int drm, int buffer)
{
	struct known known = { .drm = drm, .buffer = buffer };

	sample_calls("import_time", "warm", import_known, &known);
}

CASE(import_twice, "A second import of a buffer on the same open device gives the same handle",
     .timeout_ms = 20000, .params = "importer= exporter=udmabuf size=1048576")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int drm = drm_open(param_str("importer"));
	uint32_t first = counted_import(drm, buffer.fd, "first");
	uint32_t again = counted_import(drm, buffer.fd, "again");

	check(first == again, "first import gave handle %u, second %u", first, again);
	window_begin();
	gem_close(drm, first);
	window_end("close");
	drm_close(drm);
	buffer_close(&buffer);

	/* The same with another buffer and another open file, now timed and not counted. */
	buffer = buffer_open(param_str("exporter"), param_u64("size"));
	drm = drm_open(param_str("importer"));
	timed_import(drm, buffer.fd, "first");
	timed_import(drm, buffer.fd, "again");
	time_known(drm, buffer.fd);
	drm_close(drm);
	buffer_close(&buffer);
}
