/* SPDX-License-Identifier: MIT */
/* Positive controls of what is looked for around every case: leaks on purpose. */
#include "farm.h"

#include <fcntl.h>
#include <unistd.h>

static int open_fifo(const char *key, int flags)
{
	int fd = open(param_str(key), flags | O_CLOEXEC);

	check(fd >= 0, "open %s: %s", param_str(key), errname(errno));
	return fd;
}

/*
 * A process cannot leave a dma-buf behind when it dies; somebody else who holds one can. This case
 * runs beside the harness that is tested: `b` a dma-buf, `f` a fence in vgem, `q` the end.
 */
CASE(evidence_hold, "Makes and holds what a byte in a fifo asks for, and answers with that byte",
     .timeout_ms = 120000, .params = "asked= answers=")
{
	/* Writable as well, so that it does not end with the first who asks. */
	int asked = open_fifo("asked", O_RDWR), answers = open_fifo("answers", O_RDWR);
	int buffer = -1, vgem = -1;
	uint32_t handle = 0;
	char what;

	while (read(asked, &what, 1) == 1 && what != 'q') {
		if (what == 'b') {
			buffer = udmabuf_create(16384);
		} else if (what == 'f') {
			vgem = drm_open("drm:vgem");
			handle = dumb_create(vgem, 4096).handle;
			vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
		}
		check(write(answers, &what, 1) == 1, "answer: %s", errname(errno));
	}
	if (vgem >= 0)
		drm_close(vgem);
	if (buffer >= 0)
		close(buffer);
	close(asked);
	close(answers);
}

CASE(evidence_ask, "Has evidence_hold make something, and passes", .params = "asked= answers= what=b")
{
	int asked = open_fifo("asked", O_WRONLY), answers = open_fifo("answers", O_RDONLY);
	const char *what = param_str("what");
	char answer = 0;

	check(write(asked, what, 1) == 1, "ask: %s", errname(errno));
	check(read(answers, &answer, 1) == 1 && answer == *what, "no answer");
	close(asked);
	close(answers);
}

/* A write fence in vgem whose last reference goes with the file, in an RCU callback or a work item. */
CASE(evidence_late, "Leaves buffers and fences to be freed late, and nothing for good",
     .params = "rounds=20")
{
	for (uint64_t i = 0; i < param_u64("rounds"); i++) {
		int vgem = drm_open("drm:vgem"), buffer;
		struct dumb dumb = dumb_create(vgem, 4096);

		buffer = prime_export(vgem, dumb.handle);
		vgem_fence_attach(vgem, dumb.handle, VGEM_FENCE_WRITE);
		close(buffer);
		drm_close(vgem);
	}
}

CASE(evidence_memory_lost, "Has the reference device's driver lose memory, where the kernel looks for it",
     .params = "bytes=256 times=8")
{
	static const char lose[] = "/sys/module/refdev/parameters/lose";

	if (access(lose, W_OK))
		skip("%s: %s (needs CONFIG_DEBUG_KMEMLEAK)", lose, errname(errno));
	for (uint64_t i = 0; i < param_u64("times"); i++)
		write_file(lose, param_str("bytes"));
}

CASE(evidence_fdinfo, "Tells what a text like that of /proc/self/fdinfo holds", .params = "file=")
{
	char text[4096];
	ssize_t got = read_file_raw(param_str("file"), text, sizeof(text));

	check(got > 0, "%s: %s", param_str("file"), errname((int)got));
	drm_fdinfo_tell(text);
}
