/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct exporter {
	int socket;
	const char *address;
	size_t size;
	uint32_t seed;
	uint64_t attaches;	/* that bufinfo has while the importer holds a buffer */
};

static void send_buffer(int socket, int fd, size_t size)
{
	union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { 0 };
	struct iovec data = { .iov_base = &size, .iov_len = sizeof(size) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = control.room, .msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(socket, &message, 0) < 0)
		broken("sendmsg of the dma-buf: %s", errname(errno));
}

static int receive_buffer(int socket, size_t *size)
{
	union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { 0 };
	struct iovec data = { .iov_base = size, .iov_len = sizeof(*size) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = control.room, .msg_controllen = sizeof(control.room),
	};
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header;
	int fd;

	if (got < 0)
		broken("recvmsg of the dma-buf: %s", errname(errno));
	header = CMSG_FIRSTHDR(&message);
	if (got != sizeof(*size) || !header || header->cmsg_type != SCM_RIGHTS)
		fail("the exporting process ended without sending its buffer");
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static void export_and_wait(void *arg)
{
	struct exporter *exporter = arg;
	struct buffer buffer = buffer_open(exporter->address, exporter->size);

	buffer_fill(&buffer, exporter->seed);
	send_buffer(exporter->socket, buffer.fd, buffer.size);
	for (;;)
		pause();	/* until SIGKILL: nothing here is closed in order */
}

/* The dma-buf of an exporter that is in another process, where that can be killed. */
static int export_elsewhere(struct exporter *exporter, pid_t *pid, size_t *size)
{
	int pair[2], fd;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		broken("socketpair: %s", errname(errno));
	exporter->socket = pair[1];
	*pid = spawn(export_and_wait, exporter);
	close(pair[1]);
	fd = receive_buffer(pair[0], size);
	close(pair[0]);
	return fd;
}

static void same_bufinfo(struct bufinfo seen, struct bufinfo expected, const char *when)
{
	check(seen.objects == expected.objects && seen.bytes == expected.bytes &&
	      seen.attachments == expected.attachments,
	      "%s bufinfo has %lu objects, %llu bytes, %lu attachments; expected %lu, %llu, %lu",
	      when, seen.objects, seen.bytes, seen.attachments, expected.objects, expected.bytes,
	      expected.attachments);
}

/* The importer's handle is exported again, and carries the content both ways. */
static void reexport_carries(struct import *import, size_t size, uint32_t seed)
{
	int fd = prime_export(import->device, import->handle);

	dmabuf_verify(fd, size, seed);
	dmabuf_fill(fd, size, seed + 1);
	dmabuf_verify(fd, size, seed + 1);
	close(fd);
}

/* The device reads the last page, and writes it where it can be seen: it reaches that memory, too. */
static void device_carries(struct import *import, const char *exporter, size_t size, uint32_t seed)
{
	size_t from = size - REFDEV_MEMORY;
	struct buffer seen = buffer_open(exporter, REFDEV_MEMORY);
	uint32_t id = refdev_attach(import->device, seen.fd, REFDEV_CACHED), copied;
	uint8_t *expected = malloc(size);

	if (!expected)
		broken("no memory for a page to compare with");
	pattern_fill(expected, size, seed);
	copied = refdev_start(import->device, import->handle, 0, from, REFDEV_MEMORY);
	check(copied == REFDEV_MEMORY, "the device read %u of %u bytes", copied, REFDEV_MEMORY);
	refdev_wait(import->device, import->handle);
	copied = refdev_start(import->device, id, REFDEV_WRITE, 0, REFDEV_MEMORY);
	check(copied == REFDEV_MEMORY, "the device wrote %u of %u bytes", copied, REFDEV_MEMORY);
	refdev_wait(import->device, id);
	check(!memcmp(buffer_begin(&seen, DMA_BUF_SYNC_READ), expected + from, REFDEV_MEMORY),
	      "the device does not read what its exporter left");
	buffer_end(&seen, DMA_BUF_SYNC_READ);

	free(expected);
	refdev_detach(import->device, id);
	buffer_close(&seen);
}

/*
 * A video device works on the buffer while this program has the dma-buf open and mapped, too, and so sees
 * what becomes of it: a frame that it writes is there, what it only reads is left as the exporter left it.
 */
static void video_carries(struct import *import, int fd, size_t size, const void *reference, uint32_t seed)
{
	struct buffer left = { .address = "dma-buf", .device = -1, .fd = fd, .size = size };

	check(buffer_mismatch(&left, seed) < 0, "the exporter's content is gone with it, at byte %lld",
	      (long long)buffer_mismatch(&left, seed));
	if (reference) {
		capture_carries(import, &left, reference, seed);
	} else {
		import_stream(import, -1);
		check(buffer_mismatch(&left, seed) < 0,
		      "the device changed what it only reads, at byte %lld",
		      (long long)buffer_mismatch(&left, seed));
	}
	info("content", "seen in a mapping of the dma-buf");
	buffer_close(&left);
}

/* What the device writes into a buffer of its own; NULL where it writes none. To be freed. */
static void *reference_frame(struct import *import)
{
	void *frame;

	if (!import_captures(import))
		return NULL;
	frame = malloc(import->queue.size);
	if (!frame)
		broken("no memory for a reference frame");
	capture_still(&import->queue);
	capture_reference(&import->queue, frame);
	return frame;
}

/* The device works on a buffer that nobody but it holds. */
static void works_alone(struct import *import, const struct exporter *exporter, size_t size)
{
	if (import->queue.fd >= 0)
		import_stream(import, -1);
	else if (address_is(import->address, "refdev"))
		device_carries(import, exporter->address, size, exporter->seed);
	else
		reexport_carries(import, size, exporter->seed);
}

static const char *const ends[] = { "close", "kill" };	/* how an exporter goes */

/*
 * The importer takes a buffer, its exporter goes, and the importer has it all the same. `mapped`: of a
 * video device, the content is looked at before and after it has worked, then nobody else holds it.
 */
static void outlives(struct import *import, struct exporter *exporter, const char *end,
		     const void *reference, bool mapped)
{
	bool killed = !strcmp(end, "kill");
	struct bufinfo baseline = bufinfo(), held;
	struct buffer buffer;
	size_t size = 0;
	pid_t pid = -1;
	int fd, err;

	if (killed) {
		fd = export_elsewhere(exporter, &pid, &size);
	} else {
		buffer = buffer_open(exporter->address, exporter->size);
		buffer_fill(&buffer, exporter->seed);
		size = buffer.size;
		fd = buffer.fd;
	}
	err = import_try(import, fd);
	check(!err, "%s refused the buffer: %s", import->address, errname(err));
	if (killed) {
		if (!mapped)
			close(fd);
		kill_and_reap(pid);
	} else {
		buffer_close(&buffer);
	}
	if (mapped)
		video_carries(import, fd, size, reference, exporter->seed);

	/* Nothing but the importer's handle holds it now, and holds it indeed. */
	held = bufinfo();
	check(held.objects == baseline.objects + 1 && held.bytes == baseline.bytes + size,
	      "after %s, while the importer holds %zu bytes, bufinfo went from %lu objects, %llu "
	      "bytes to %lu, %llu", end, size, baseline.objects, baseline.bytes, held.objects,
	      held.bytes);
	check(held.attachments == baseline.attachments + exporter->attaches,
	      "after %s bufinfo went from %lu attachments to %lu, expected %llu more", end,
	      baseline.attachments, held.attachments, (unsigned long long)exporter->attaches);

	if (!mapped)
		works_alone(import, exporter, size);

	import_drop(import);
	same_bufinfo(bufinfo(), baseline, "after the importer closed its handle,");
}

CASE(exporter_gone, "The importer keeps the content after the exporter closed, or was killed",
     .params = "exporter= importer= how=both attaches=1 size=65536 seed=5 mapped=0")
{
	struct exporter exporter = {
		.address = param_str("exporter"),
		.seed = (uint32_t)param_u64("seed"),
		.attaches = param_u64("attaches"),
	};
	struct import import = import_open(param_str("importer"));
	bool both = param_is("how", "both"), known = both, mapped = param_u64("mapped");
	void *reference = mapped ? reference_frame(&import) : NULL;

	exporter.size = import_size(&import, param_u64("size"));
	if (mapped && (!param_is("how", "kill") || import.queue.fd < 0))
		broken("mapped=1 is for an exporter that is killed and a video device");
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		if (!both && !param_is("how", ends[i]))
			continue;
		known = true;
		outlives(&import, &exporter, ends[i], reference, mapped);
	}
	if (!known)
		broken("how is '%s', not close, kill or both", param_str("how"));
	import_close(&import);
	free(reference);
}
