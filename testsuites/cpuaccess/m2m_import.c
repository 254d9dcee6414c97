/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "m2m.h"
#include "picture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * visl draws its stream's time as text: NV12's lines 16 to 31, with their chroma (visl_tpg_fill() in
 * drivers/media/test-drivers/visl/visl-dec.c).
 */
#define VISL_TIME_LINE 16u
#define VISL_TIME_LINES 16u

struct result {
	uint8_t *bytes;
	size_t size;
};

/* What the device made of a frame, without what differs each time. */
static struct result result_of(const char *address, const struct v4l2_queue *capture,
			       const void *frame, size_t bytes)
{
	struct result result = { .bytes = malloc(bytes), .size = bytes };
	size_t line = capture->width;

	if (!result.bytes)
		broken("no memory for a result of %zu bytes", bytes);
	memcpy(result.bytes, frame, bytes);
	if (!strcmp(address, "m2m:visl")) {
		size_t chroma = line * capture->height;

		memset(result.bytes + VISL_TIME_LINE * line, 0, VISL_TIME_LINES * line);
		memset(result.bytes + chroma + VISL_TIME_LINE / 2 * line, 0,
		       VISL_TIME_LINES / 2 * line);
	}
	return result;
}

/* One frame with buffers of the device's own, the output one filled with `content`. */
static struct result own_frame(const char *address, struct m2m *m2m, const void *content)
{
	struct v4l2_frame made;
	struct result result;
	void *from, *to;

	m2m_request(&m2m->output, V4L2_MEMORY_MMAP, 1);
	m2m_request(&m2m->capture, V4L2_MEMORY_MMAP, 1);
	from = queue_view(&m2m->output, m2m->output.size);
	to = queue_view(&m2m->capture, m2m->capture.size);
	memcpy(from, content, m2m->output.size);
	m2m_stream(m2m, true);
	made = m2m_run(m2m, 0, -1, m2m->output.size, -1);
	result = result_of(address, &m2m->capture, to, made.bytes);
	m2m_stream(m2m, false);
	munmap(from, m2m->output.size);
	munmap(to, m2m->capture.size);
	v4l2_request(&m2m->output, V4L2_MEMORY_MMAP, 0);
	v4l2_request(&m2m->capture, V4L2_MEMORY_MMAP, 0);
	return result;
}

static bool equal(const struct result *one, const struct result *other)
{
	return one->size == other->size && !memcmp(one->bytes, other->bytes, one->size);
}

/* Imports into one queue, ahead of the stream: queued and taken back, the queue keeps the buffer. */
static void import_into(struct v4l2_queue *queue, const char *address, int dmabuf)
{
	int err;

	window_begin();
	err = v4l2_queue_raw(queue, 0, dmabuf);
	window_end("import");
	info("outcome", "%s", err ? "refused" : "shared");
	info("errno", "%s", errname(err));
	check(!err, "%s refused the buffer: %s", address, errname(err));
	v4l2_stream(queue, false);
}

/* The same frame with the imported buffer on one side and the device's own on the other. */
static struct result imported_frame(const char *address, struct m2m *m2m, struct buffer *buffer,
				    bool output, const void *content)
{
	struct v4l2_queue *own = output ? &m2m->capture : &m2m->output;
	struct v4l2_queue *shared = output ? &m2m->output : &m2m->capture;
	struct v4l2_frame made;
	struct result result;
	const void *to;
	void *view;

	m2m_request(shared, V4L2_MEMORY_DMABUF, 1);
	m2m_request(own, V4L2_MEMORY_MMAP, 1);
	view = queue_view(own, own->size);
	memcpy(output ? buffer_begin(buffer, DMA_BUF_SYNC_WRITE) : view, content,
	       m2m->output.size);
	if (output)
		buffer_end(buffer, DMA_BUF_SYNC_WRITE);
	import_into(shared, address, buffer->fd);

	window_begin();
	m2m_stream(m2m, true);
	made = m2m_run(m2m, 0, output ? buffer->fd : -1, m2m->output.size,
		       output ? -1 : buffer->fd);
	m2m_stream(m2m, false);
	window_end("frame");

	to = output ? view : buffer_begin(buffer, DMA_BUF_SYNC_READ);
	result = result_of(address, &m2m->capture, to, made.bytes);
	if (!output)
		buffer_end(buffer, DMA_BUF_SYNC_READ);
	munmap(view, own->size);
	return result;
}

CASE(m2m_import, "A memory-to-memory device does with an imported buffer what it does with its own",
     .timeout_ms = 20000, .params = "importer= exporter=udmabuf side=output seed=31")
{
	const char *address = param_str("importer");
	struct m2m m2m = m2m_open(address, M2M_ANY, 0);
	bool output = param_is("side", "output");
	struct result expected, other, seen;
	struct picture picture;
	struct buffer buffer;
	uint8_t *content;
	size_t wanted;

	if (!output && !param_is("side", "capture"))
		broken("side is '%s', expected output or capture", param_str("side"));
	m2m_frames(&m2m);
	wanted = output ? m2m.output.size : m2m.capture.size;
	buffer = buffer_open_for(param_str("exporter"), wanted);
	if (buffer.size < wanted)
		skip("a frame of %s has %zu bytes, one of %s wants %zu", buffer.address, buffer.size,
		     address, wanted);
	picture = picture_of(V4L2_PIX_FMT_RGB24, 640, 480);
	content = malloc(m2m.output.size);
	if (!content || picture.size != m2m.output.size)
		broken("no memory for a frame of %zu bytes", picture.size);
	picture_fill(&picture, content, "noise", (uint32_t)param_u64("seed"));

	/* A result that the last byte changes depends on the content, to its end. */
	content[m2m.output.size - 1] = 1;
	other = own_frame(address, &m2m, content);
	content[m2m.output.size - 1] = 2;
	expected = own_frame(address, &m2m, content);
	if (output && equal(&expected, &other))
		broken("another last byte gives the same result, so equality proves nothing");

	seen = imported_frame(address, &m2m, &buffer, output, content);
	check(seen.size == expected.size, "the result has %zu bytes, with its own buffers %zu",
	      seen.size, expected.size);
	for (size_t at = 0; at < seen.size; at++)
		check(seen.bytes[at] == expected.bytes[at],
		      "byte %zu of the result is 0x%02x, with its own buffers 0x%02x", at,
		      seen.bytes[at], expected.bytes[at]);
	info("result", "%zu bytes of %zu", seen.size, m2m.output.size);

	m2m_close(&m2m);
	buffer_close(&buffer);
	free(seen.bytes);
	free(expected.bytes);
	free(other.bytes);
	free(content);
}
