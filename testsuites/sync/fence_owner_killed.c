/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <poll.h>
#include <unistd.h>

#define EXPIRY_NS 10000000000ull	/* VGEM_FENCE_TIMEOUT, drivers/gpu/drm/vgem/vgem_fence.c */
#define WAKE_MS 60000

struct owner {
	const char *fencer;
	int buffer;
	int attached[2];	/* pipe: a byte when the fence is in the buffer */
};

static void own_a_fence(void *arg)
{
	struct owner *owner = arg;
	int vgem = drm_open(owner->fencer);
	uint32_t handle = prime_import(vgem, owner->buffer);

	vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	if (write(owner->attached[1], "", 1) != 1)
		broken("the owner's pipe closed: %s", errname(errno));
	for (;;)
		pause();
}

CASE(fence_owner_killed, "Who waits for a fence wakes when its owner is killed",
     .timeout_ms = 70000, .params = "exporter=udmabuf fencer=drm:vgem rounds=5 size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	struct owner owner = { .fencer = param_str("fencer"), .buffer = buffer.fd };
	uint64_t rounds = param_u64("rounds");

	if (pipe(owner.attached) < 0)
		broken("pipe: %s", errname(errno));
	window_begin();
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t begin = now_ns();
		pid_t pid = spawn(own_a_fence, &owner);
		int pending;
		char byte;

		if (read(owner.attached[0], &byte, 1) != 1)
			broken("the owner is gone before its fence: %s", errname(errno));
		pending = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW);
		poll_blocked(buffer.fd, POLLIN);
		kill_and_reap(pid);
		poll_ready(buffer.fd, POLLIN | POLLOUT, WAKE_MS);
		/* A fence ends by itself, too; then nothing follows. */
		if (now_ns() - begin >= EXPIRY_NS)
			broken("round %llu took over 10 s, so the fence may have expired",
			       (unsigned long long)i);
		check(sync_file_status(pending) == 1, "the dead owner's fence has status %d",
		      sync_file_status(pending));
		close(pending);
	}
	window_end("killed");
	info("rounds", "%llu", (unsigned long long)rounds);

	close(owner.attached[0]);
	close(owner.attached[1]);
	buffer_close(&buffer);
}
