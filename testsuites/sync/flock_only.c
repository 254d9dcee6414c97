/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

struct holder {
	int buffer, file;	/* locked by a process of its own */
	int locked[2], end[2];	/* pipes */
};

static void hold_locks(void *arg)
{
	struct holder *holder = arg;
	char byte = 0;

	check(flock(holder->buffer, LOCK_EX) == 0, "flock of the dma-buf: %s", errname(errno));
	check(flock(holder->file, LOCK_EX) == 0, "flock of the memfd: %s", errname(errno));
	if (write(holder->locked[1], &byte, 1) != 1 || read(holder->end[0], &byte, 1) != 1)
		broken("the holder's pipe closed: %s", errname(errno));
}

CASE(flock_only, "An exclusive flock on a dma-buf holds back nobody who uses the buffer",
     .params = "exporter= size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	struct holder holder = { .buffer = buffer.fd, .file = memfd(4096, 0) };
	char path[48], byte = 0;
	int same, again;
	pid_t pid;

	if (pipe(holder.locked) < 0 || pipe(holder.end) < 0)
		broken("pipe: %s", errname(errno));
	pid = spawn(hold_locks, &holder);
	if (read(holder.locked[0], &byte, 1) != 1)
		broken("the holder is gone: %s", errname(errno));

	/* That there is a lock, and that flock tells: an ordinary file opened once more is busy. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", holder.file);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0)
		broken("%s: %s", path, errname(errno));
	if (flock(again, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		broken("the other process's lock of a memfd is not seen: %s", errname(errno));
	close(again);

	/* No access waits for it. */
	poll_ready(buffer.fd, POLLIN | POLLOUT, 0);
	window_begin();
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	window_end("access");
	dmabuf_fill(buffer.fd, buffer.size, 43);
	dmabuf_verify(buffer.fd, buffer.size, 43);

	/*
	 * Nor does a second lock: all descriptors of a dma-buf are one open file, and a lock is an
	 * open file's. So it cannot be opened anew, and its users cannot shut each other out.
	 */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", buffer.fd);
	same = open(path, O_RDWR | O_CLOEXEC);
	check(same < 0 && errno == ENXIO, "%s of a dma-buf, opened anew: %s, expected ENXIO", path,
	      errname(same < 0 ? errno : 0));
	check(flock(buffer.fd, LOCK_EX | LOCK_NB) == 0, "a second lock of one open file: %s",
	      errname(errno));

	if (write(holder.end[1], &byte, 1) != 1)
		broken("the holder's pipe closed: %s", errname(errno));
	join(pid);
	for (int i = 0; i < 2; i++) {
		close(holder.locked[i]);
		close(holder.end[i]);
	}
	close(holder.file);
	buffer_close(&buffer);
}
