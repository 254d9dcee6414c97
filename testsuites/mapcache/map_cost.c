/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "timing.h"

#include <stdlib.h>

#define MIB ((double)(1 << 20))

/* One exporter's buffer, or with `run` bytes a udmabuf of runs that are no neighbours. */
static struct buffer buffer_of_runs(const char *exporter, size_t size, size_t run)
{
	if (!run)
		return buffer_open(exporter, size);
	check(address_is(exporter, "udmabuf"), "%s cannot be told how to scatter", exporter);
	return (struct buffer){
		.address = exporter, .device = -1, .queue.fd = -1, .size = size,
		.fd = udmabuf_runs(size, run),
	};
}

/* `expected` is the errno of an importer that refuses what it has mapped, else 0. */
static void map(struct import *import, int dmabuf, int expected)
{
	int err = import_try(import, dmabuf);

	check(err == -expected, "%s: importing ended with %s, expected %s", import->address,
	      errname(err), errname(expected));
}

static void unmap(struct import *import)
{
	if (!import->error)
		import_drop(import);
}

static void report(const char *name, const uint64_t *sorted, size_t count)
{
	sample(name, (double)percentile(sorted, count, 500), "ns", "p50");
	sample(name, (double)sorted[count - 1], "ns", "max");
}

static double per_mib(const uint64_t *sorted, size_t count, size_t size)
{
	return (double)percentile(sorted, count, 500) * MIB / (double)size;
}

CASE(map_cost, "What it costs to map and unmap a buffer of a size, in physical runs of a length",
     .timeout_ms = 30000,
     .params = "importer= exporter=udmabuf size=1048576 run=4096 errno=0 rounds=20 warmup=3")
{
	uint64_t rounds = param_u64("rounds"), warmup = param_u64("warmup"), run = param_u64("run");
	size_t size = param_u64("size"), least;
	struct import import = import_open(param_str("importer"));
	int refusal = param_errno("errno");
	uint64_t *maps = calloc(rounds, sizeof(*maps)), *unmaps = calloc(rounds, sizeof(*unmaps));
	struct buffer buffer;

	if (!rounds || !maps || !unmaps)
		broken("no memory for %llu rounds", (unsigned long long)rounds);
	least = import_size(&import, size);
	if (least > size)
		skip("a frame of %s has %zu bytes: it takes no buffer of %zu", import.address, least,
		     size);
	buffer = buffer_of_runs(param_str("exporter"), size, run);
	info("size", "%zu", buffer.size);
	info("rounds", "%llu", (unsigned long long)rounds);
	if (run) {
		info("runs", "%llu", (unsigned long long)(buffer.size / run));
		sample("runs_per_mib", MIB / (double)run, "count", "buffer");
	}

	for (uint64_t i = 0; i < warmup; i++) {
		map(&import, buffer.fd, refusal);
		unmap(&import);
	}
	timing_begin();
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t begin = now_ns(), between;

		map(&import, buffer.fd, refusal);
		between = now_ns();
		unmap(&import);
		unmaps[i] = now_ns() - between;
		maps[i] = between - begin;
	}
	timing_end();

	/* The same again, now counted, and once more with each half counted by itself. */
	window_begin();
	for (uint64_t i = 0; i < rounds; i++) {
		map(&import, buffer.fd, refusal);
		unmap(&import);
	}
	window_end("rounds");
	window_begin();
	map(&import, buffer.fd, refusal);
	window_end("map");
	window_begin();
	unmap(&import);
	window_end("unmap");
	sort_u64(maps, rounds);
	sort_u64(unmaps, rounds);
	/* Whoever refuses has unmapped as well when it answers: that is another time. */
	if (refusal) {
		report("import_time", maps, rounds);
	} else {
		report("map_time", maps, rounds);
		report("unmap_time", unmaps, rounds);
		sample("map_time_per_mib", per_mib(maps, rounds, buffer.size), "ns", "p50");
		sample("unmap_time_per_mib", per_mib(unmaps, rounds, buffer.size), "ns", "p50");
	}

	import_close(&import);
	buffer_close(&buffer);
	free(maps);
	free(unmaps);
}
