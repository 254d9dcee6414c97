/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <poll.h>
#include <unistd.h>

CASE(poll_fences, "A write fence holds back readers and writers, a read fence only writers",
     .params = "exporter=udmabuf fencer=drm:vgem size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int vgem = drm_open(param_str("fencer"));
	uint32_t handle = prime_import(vgem, buffer.fd), fence, other;

	poll_ready(buffer.fd, POLLIN | POLLOUT, 0);

	fence = vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	poll_blocked(buffer.fd, POLLIN | POLLOUT);
	poll_blocked(buffer.fd, POLLIN);
	poll_blocked(buffer.fd, POLLOUT);
	vgem_fence_signal(vgem, fence);
	poll_ready(buffer.fd, POLLIN | POLLOUT, 1000);

	fence = vgem_fence_attach(vgem, handle, 0);
	poll_ready(buffer.fd, POLLIN, 0);
	poll_blocked(buffer.fd, POLLOUT);
	check(poll_raw(buffer.fd, POLLIN | POLLOUT, 0) == POLLIN,
	      "polled together, a read fence gives other than POLLIN alone");

	/* A second reader joins; the writer has to wait for both. */
	other = vgem_fence_attach(vgem, handle, 0);
	vgem_fence_signal(vgem, fence);
	poll_blocked(buffer.fd, POLLOUT);
	vgem_fence_signal(vgem, other);
	poll_ready(buffer.fd, POLLOUT, 1000);

	gem_close(vgem, handle);
	close(vgem);
	buffer_close(&buffer);
}
