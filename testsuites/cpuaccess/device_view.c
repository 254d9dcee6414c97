/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

CASE(device_view, "A device reads what a program wrote through the dma-buf's mapping, and back",
     .timeout_ms = 20000,
     .params = "importer=refdev exporter=heap:system sync=yes size=65536 seed=37")
{
	uint32_t seed = (uint32_t)param_u64("seed"), length = REFDEV_MEMORY, id;
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(param_str("importer"));
	uint8_t *map = dmabuf_map(buffer.fd, buffer.size, PROT_READ | PROT_WRITE);
	uint8_t *expected = malloc(buffer.size);
	bool bracket = param_is("sync", "yes");
	size_t half = buffer.size / 2, at = 0;

	if (!expected || half < length)
		broken("no memory for %zu bytes, or no room in them for %u", buffer.size, length);
	check(bracket || param_is("sync", "no"), "sync is '%s', not yes or no", param_str("sync"));
	pattern_fill(expected, buffer.size, seed);

	/* The program's part is always bracketed: what is asked is how it sees the device's. */
	id = refdev_attach(device, buffer.fd, REFDEV_CACHED);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	memcpy(map, expected, buffer.size);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	memcpy(expected + half, expected, length);
	if (memcmp(map, expected, buffer.size) == 0)
		broken("the content is what the device is to make of it, so it proves nothing");

	refdev_copy(device, id, 0, half, length);
	window_begin();
	if (bracket)
		dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	while (at < buffer.size && map[at] == expected[at])
		at++;
	window_end("read");
	check(at == buffer.size, "%s SYNC byte %zu of %zu is 0x%02x, the device made it 0x%02x",
	      bracket ? "with" : "without", at, buffer.size, map[at], expected[at]);
	if (bracket)
		dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);

	refdev_detach(device, id);
	close(device);
	dmabuf_unmap(map, buffer.size);
	buffer_close(&buffer);
	free(expected);
}

/* The one MMAP buffer that the device captures into next; its bytes are in both mappings. */
static void capture_into(struct v4l2_queue *queue)
{
	v4l2_queue(queue, 0, -1);
	v4l2_stream(queue, true);
	check(v4l2_dequeue(queue, PATIENCE_MS) == 0, "another buffer than the only one came back");
	v4l2_stream(queue, false);
}

CASE(capture_view, "The frame of a capture device is in the dma-buf of its own buffer, and back",
     .timeout_ms = 20000, .params = "device= seed=41")
{
	uint32_t seed = (uint32_t)param_u64("seed");
	struct import capture = import_open(param_str("device"));
	struct v4l2_queue *queue = &capture.queue;
	size_t size = queue->size;
	void *reference = malloc(size), *own, *map;
	int fd;

	if (!reference)
		broken("no memory for a reference frame");
	capture_still(queue);
	capture_reference(queue, reference);
	v4l2_request(queue, V4L2_MEMORY_DMABUF, 0);
	v4l2_request(queue, V4L2_MEMORY_MMAP, 2);
	own = queue_view(queue, size);
	fd = v4l2_export(queue, 0);
	map = dmabuf_map(fd, size, PROT_READ | PROT_WRITE);

	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE);
	pattern_fill(map, size, seed);
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE);
	pattern_verify(own, size, seed);
	if (!memcmp(map, reference, size))
		broken("the pattern equals the frame, so equality proves nothing");

	capture_into(queue);
	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	check(!memcmp(map, reference, size), "the dma-buf's mapping does not show the frame");
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	check(!memcmp(own, map, size), "the device's own mapping and the dma-buf's differ");

	dmabuf_unmap(map, size);
	munmap(own, size);
	close(fd);
	v4l2_request(queue, V4L2_MEMORY_MMAP, 0);
	import_close(&capture);
	free(reference);
}
