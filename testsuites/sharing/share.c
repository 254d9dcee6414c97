/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "kms.h"
#include "refdevice.h"
#include "timing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define WARM_ROUNDS 11u
#define PITCH 8192u	/* what is shown: the first 512 pixels of each second page, */
#define WIDTH 512u	/* as a display in software takes its time over each of them */

/* Where the content was seen; carried: through the importer. */
static void content_seen(bool carried, const char *where)
{
	info("carried", carried ? "yes" : "no");
	info("content", "%s", where);
}

/* The CRC of what the display shows of one framebuffer, until it shows the next. */
static uint32_t crc_of(struct display *display, const struct shown *shown)
{
	display_show(display, shown);
	return display_crc(display);
}

/* Two buffers of the display's own: this seed's content, and the next one's. */
static void own_contents(struct display *display, size_t size, uint32_t seed, struct shown own[2])
{
	uint8_t *content = malloc(size);

	if (!content)
		broken("no memory for a buffer to compare with");
	for (uint32_t i = 0; i < 2; i++) {
		pattern_fill(content, size, seed + i);
		own[i] = display_own(display, content, PITCH);
	}
	free(content);
}

/* A display shows the buffer, of each line the first WIDTH pixels, and tells the CRC of what it shows. */
static void display_carries(struct import *import, struct buffer *buffer, uint32_t seed)
{
	uint32_t lines = (uint32_t)(buffer->size / PITCH), seen, expected, changed;
	struct display display;
	struct shown shown, own[2];

	ioctl(import->device, DRM_IOCTL_DROP_MASTER, 0);
	display = display_open(import->address, WIDTH, lines);
	shown = display_import(&display, buffer->fd, PITCH);
	own_contents(&display, (size_t)lines * PITCH, seed, own);
	seen = crc_of(&display, &shown);
	expected = crc_of(&display, &own[0]);
	changed = crc_of(&display, &own[1]);
	if (changed == expected)
		broken("other content has the same CRC 0x%08x, so equality proves nothing", expected);
	check(seen == expected, "the CRC of the exporter's buffer is 0x%08x, of the same content 0x%08x",
	      seen, expected);
	display_forget(&display, &shown);
	display_forget(&display, &own[0]);
	display_close(&display);	/* with what it still has */
	content_seen(true, "the CRC of what the display shows");
}

/*
 * The importer's own mapping of the handle where it grants one (its own buffer come back). Else what it
 * hands out again, as drm_gem_dumb_map_offset() refuses imported objects: that is the exporter's file, and
 * shows that the importer knows the buffer again, not what it sees of it. A display that tells its CRC does.
 */
static void drm_carries(struct import *import, struct buffer *buffer, uint32_t seed)
{
	void *map = NULL;
	int again = -1;

	if (dumb_map_raw(import->device, import->handle, buffer->size, &map) == 0) {
		content_seen(true, "importer's dumb map");
		pattern_verify(map, buffer->size, seed);
		pattern_fill(map, buffer->size, seed + 1);
		munmap(map, buffer->size);
	} else {
		if (param_u64("crc"))
			display_carries(import, buffer, seed);
		else
			content_seen(false, "mmap of the importer's re-export");
		again = prime_export(import->device, import->handle);
		check(same_file(again, buffer->fd),
		      "the importer's handle is exported as another dma-buf than it was made from");
		dmabuf_verify(again, buffer->size, seed);
		dmabuf_fill(again, buffer->size, seed + 1);
		close(again);
	}
	check(buffer_mismatch(buffer, seed + 1) < 0,
	      "what was written through the importer is not in the exporter's view at byte %lld",
	      (long long)buffer_mismatch(buffer, seed + 1));
}

/* The device copies the last page to the middle: content in, content out, by DMA. */
static void device_carries(struct import *import, struct buffer *buffer, uint32_t seed)
{
	uint32_t length = REFDEV_MEMORY;
	size_t from = buffer->size - length, to = from / 2 / length * length;
	uint8_t *expected = malloc(buffer->size);
	const uint8_t *seen;
	size_t at = 0;

	if (!expected)
		broken("no memory for a buffer to compare with");
	pattern_fill(expected, buffer->size, seed);
	memcpy(expected + to, expected + from, length);
	refdev_copy(import->device, import->handle, from, to, length);

	seen = buffer_begin(buffer, DMA_BUF_SYNC_READ);
	while (at < buffer->size && seen[at] == expected[at])
		at++;
	check(at == buffer->size, "byte %zu of %zu is 0x%02x in the exporter's view, expected 0x%02x",
	      at, buffer->size, seen[at], expected[at]);
	buffer_end(buffer, DMA_BUF_SYNC_READ);
	content_seen(true, "read and written by the device's DMA");
	free(expected);
}

/*
 * An output device reads a frame, and nobody sees where it goes; of a memory-to-memory device the buffer is
 * queued and not worked on, since what it makes of one takes two. Neither may change what is there.
 */
static void video_leaves(struct import *import, struct buffer *buffer, uint32_t seed)
{
	if (address_is(import->address, "v4l2"))
		import_stream(import, buffer->fd);
	else
		v4l2_stream(&import->queue, false);
	check(buffer_mismatch(buffer, seed) < 0, "the device changed what it only reads, at byte %lld",
	      (long long)buffer_mismatch(buffer, seed));
	content_seen(false, "left as it was");
}

/*
 * What another import costs once the pair is warm; the first one is also the first after boot. Where
 * chance decides (bounce buffers that are neighbours or not), a later one may be refused.
 */
static void time_warm(struct import *import, int dmabuf)
{
	uint64_t ns[WARM_ROUNDS], begin;

	timing_begin();
	for (uint64_t i = 0; i < WARM_ROUNDS; i++) {
		int err;

		begin = now_ns();
		err = import_try(import, dmabuf);
		ns[i] = now_ns() - begin;
		if (err && !strcmp(param_str("again"), "may")) {
			timing_end();
			sample_absent("import_time", "import %llu was refused, as chance may have it: %s",
				      (unsigned long long)i + 2, errname(err));
			return;
		}
		check(!err, "import %llu, of a buffer that was taken before: %s",
		      (unsigned long long)i + 2, errname(err));
		import_drop(import);
	}
	timing_end();
	sort_u64(ns, WARM_ROUNDS);
	sample("import_time", (double)percentile(ns, WARM_ROUNDS, 500), "ns", "warm");
}

CASE(share, "A pair of exporter and importer carries the content, or refuses and leaves it intact",
     .timeout_ms = 10000, .params = "exporter= importer= size=1048576 seed=7 again=must crc=0")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct import import = import_open(param_str("importer"));
	size_t size = import_size(&import, param_u64("size"));
	struct buffer buffer = buffer_open(param_str("exporter"), size);
	bool drm = address_is(import.address, "drm"), captures = import_captures(&import);
	bool video = import.queue.fd >= 0;
	void *reference = NULL;
	int err;

	if (buffer.size < import.queue.size)
		skip("a frame of %s has %zu bytes, one of %s wants %zu", buffer.address, buffer.size,
		     import.address, import.queue.size);
	if (captures) {
		reference = malloc(import.queue.size);
		if (!reference)
			broken("no memory for a reference frame");
		capture_still(&import.queue);
		capture_reference(&import.queue, reference);
	}
	buffer_fill(&buffer, seed);

	window_begin();
	err = import_try(&import, buffer.fd);
	window_end("import");

	info("outcome", "%s", err ? "refused" : "shared");
	info("errno", "%s", errname(err));
	info("size", "%zu", buffer.size);
	if (err)
		check(buffer_mismatch(&buffer, seed) < 0, "the refused import changed the content");
	else if (drm)
		drm_carries(&import, &buffer, seed);
	else if (captures)
		capture_carries(&import, &buffer, reference, seed);
	else if (video)
		video_leaves(&import, &buffer, seed);
	else
		device_carries(&import, &buffer, seed);
	if (!err && captures)
		content_seen(true, "frame written by the device, read by the exporter");

	if (!err)
		import_drop(&import);
	if (!err)
		time_warm(&import, buffer.fd);
	import_close(&import);
	buffer_close(&buffer);
	free(reference);
}

/* A view that does not go through the dma-buf: a udmabuf's is its memfd. */
struct own_view {
	struct buffer buffer;
	int memfd;
	void *view;
};

static struct own_view own_view(const char *address, size_t size)
{
	struct own_view own = { .memfd = -1 };

	if (!address_is(address, "udmabuf")) {
		own.buffer = buffer_open(address, size);
		own.view = buffer_view(&own.buffer);
		return own;
	}
	own.memfd = memfd(size, F_SEAL_SHRINK);
	own.buffer = (struct buffer){ .address = address, .device = -1, .size = size };
	own.buffer.fd = udmabuf_from_memfd(own.memfd, 0, size);
	own.view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, own.memfd, 0);
	check(own.view != MAP_FAILED, "mmap of the memfd: %s", errname(errno));
	return own;
}

CASE(share_cpu, "The CPU's mapping of a dma-buf and the exporter's own show the same content",
     .params = "exporter= size=1048576 seed=11")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct own_view own = own_view(param_str("exporter"), param_u64("size"));
	size_t size = own.buffer.size;
	void *map = NULL;
	int err = dmabuf_map_raw(own.buffer.fd, size, PROT_READ | PROT_WRITE, &map);

	info("outcome", "%s", err ? "refused" : "shared");
	info("errno", "%s", errname(err));
	if (!err) {
		info("content", "mmap of the dma-buf, both ways");
		dmabuf_unmap(map, size);
		pattern_fill(own.view, size, seed);
		dmabuf_verify(own.buffer.fd, size, seed);
		dmabuf_fill(own.buffer.fd, size, seed + 1);
		pattern_verify(own.view, size, seed + 1);
	}
	if (own.memfd >= 0) {
		munmap(own.view, size);
		close(own.memfd);
	}
	buffer_close(&own.buffer);
}
