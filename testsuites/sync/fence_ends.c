/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <poll.h>
#include <unistd.h>

#define EXPIRY_NS 10000000000ull	/* VGEM_FENCE_TIMEOUT, drivers/gpu/drm/vgem/vgem_fence.c */
#define TICK_NS 10000000ull		/* a jiffy at the slowest HZ: timers count in these */
#define LATE_MS 60000

/* Who may join whom in one buffer: readers join readers, and that is all. */
static void conflicts(int one, int other, int dmabuf)
{
	uint32_t handle = prime_import(one, dmabuf), elsewhere = prime_import(other, dmabuf);
	uint32_t reader, second, writer;

	reader = vgem_fence_attach(one, handle, 0);
	second = vgem_fence_attach(other, elsewhere, 0);
	vgem_fence_attach_errno(one, handle, VGEM_FENCE_WRITE, EBUSY);
	vgem_fence_attach_errno(other, elsewhere, VGEM_FENCE_WRITE, EBUSY);
	vgem_fence_signal(one, reader);
	vgem_fence_attach_errno(one, handle, VGEM_FENCE_WRITE, EBUSY);
	vgem_fence_signal(other, second);

	writer = vgem_fence_attach(one, handle, VGEM_FENCE_WRITE);
	vgem_fence_attach_errno(one, handle, VGEM_FENCE_WRITE, EBUSY);
	vgem_fence_attach_errno(other, elsewhere, VGEM_FENCE_WRITE, EBUSY);
	vgem_fence_attach_errno(other, elsewhere, 0, EBUSY);

	/* A fence is its file's, and is signalled once. */
	vgem_fence_signal_errno(one, writer + 1000, ENOENT);
	poll_blocked(dmabuf, POLLIN);
	vgem_fence_signal(one, writer);
	vgem_fence_signal_errno(one, writer, ENOENT);
	vgem_fence_signal_errno(one, reader, ENOENT);
	poll_ready(dmabuf, POLLIN | POLLOUT, 0);

	vgem_fence_attach_errno(one, handle, 1u << 31, EINVAL);
	vgem_fence_attach_errno(one, handle + 1000, 0, ENOENT);
	gem_close(one, handle);
	gem_close(other, elsewhere);
}

CASE(fence_ends, "Fences that conflict are refused, and one that nobody signals ends, not before 10 s",
     .timeout_ms = 90000, .params = "exporter=udmabuf fencer=drm:vgem size=65536")
{
	struct buffer late = buffer_open(param_str("exporter"), param_u64("size"));
	struct buffer busy = buffer_open(param_str("exporter"), param_u64("size"));
	int one = drm_open(param_str("fencer")), other = drm_open(param_str("fencer")), pending;
	uint32_t handle = prime_import(one, late.fd), fence, next;
	uint64_t attached = now_ns(), spent;

	fence = vgem_fence_attach(one, handle, VGEM_FENCE_WRITE);
	pending = sync_file_export(late.fd, DMA_BUF_SYNC_RW);

	/* While it runs down. */
	conflicts(one, other, busy.fd);
	check(sync_file_status(pending) == 0 || now_ns() - attached >= EXPIRY_NS - TICK_NS,
	      "the fence that nobody signals is not pending any more after %llu ns",
	      (unsigned long long)(now_ns() - attached));

	poll_ready(late.fd, POLLIN | POLLOUT, LATE_MS);
	spent = now_ns() - attached;
	check(spent >= EXPIRY_NS - TICK_NS, "the fence ended after %llu ns, expected %llu",
	      (unsigned long long)spent, EXPIRY_NS);
	sample("fence_expiry", (double)spent, "ns", "unsignalled");
	check(sync_file_status(pending) == 1, "the expired fence has status %d, expected 1",
	      sync_file_status(pending));

	/* Its owner comes too late, once; then there is no such fence. The buffer is free. */
	vgem_fence_signal_errno(one, fence, ETIMEDOUT);
	vgem_fence_signal_errno(one, fence, ENOENT);
	next = vgem_fence_attach(one, handle, VGEM_FENCE_WRITE);
	poll_blocked(late.fd, POLLIN);
	vgem_fence_signal(one, next);

	close(pending);
	gem_close(one, handle);
	close(one);
	close(other);
	buffer_close(&late);
	buffer_close(&busy);
}
