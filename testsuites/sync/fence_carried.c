/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <poll.h>
#include <unistd.h>

#define WAKE_MS 5000

CASE(fence_carried, "A fence that is carried from one buffer to another holds back the other's users",
     .params = "exporter=udmabuf other=udmabuf fencer=drm:vgem size=65536")
{
	struct buffer from = buffer_open(param_str("exporter"), param_u64("size"));
	struct buffer to = buffer_open(param_str("other"), param_u64("size"));
	int vgem = drm_open(param_str("fencer")), carried, held;
	uint32_t handle = prime_import(vgem, from.fd), fence;

	/* As a writer's: everybody waits, also who asks what there is to wait for. */
	fence = vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	carried = sync_file_export(from.fd, DMA_BUF_SYNC_RW);
	poll_ready(to.fd, POLLIN | POLLOUT, 0);
	sync_file_import(to.fd, DMA_BUF_SYNC_WRITE, carried);
	poll_blocked(to.fd, POLLIN);
	poll_blocked(to.fd, POLLOUT);
	held = sync_file_export(to.fd, DMA_BUF_SYNC_READ);
	sync_file_is(held, 0, "what a reader of the other buffer waits for");

	/* The fence is what holds it, neither the sync_file nor the buffer that it came from. */
	close(carried);
	gem_close(vgem, handle);
	buffer_close(&from);
	poll_blocked(to.fd, POLLIN);
	vgem_fence_signal(vgem, fence);
	poll_ready(to.fd, POLLIN | POLLOUT, WAKE_MS);
	sync_file_is(held, 1, "what a reader waited for, after the signal");
	close(held);

	/* As a reader's: only writers wait, whatever it was where it came from. */
	from = buffer_open(param_str("exporter"), param_u64("size"));
	handle = prime_import(vgem, from.fd);
	fence = vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	carried = sync_file_export(from.fd, DMA_BUF_SYNC_RW);
	sync_file_import(to.fd, DMA_BUF_SYNC_READ, carried);
	poll_ready(to.fd, POLLIN, 0);
	poll_blocked(to.fd, POLLOUT);
	poll_blocked(from.fd, POLLIN);
	vgem_fence_signal(vgem, fence);
	poll_ready(to.fd, POLLOUT, WAKE_MS);

	/* A signalled one holds nobody back; nonsense is refused. */
	sync_file_import(to.fd, DMA_BUF_SYNC_RW, carried);
	poll_ready(to.fd, POLLIN | POLLOUT, 0);
	sync_file_import_errno(to.fd, 0, carried, EINVAL);
	sync_file_import_errno(to.fd, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END, carried, EINVAL);
	sync_file_import_errno(to.fd, DMA_BUF_SYNC_RW, to.fd, EINVAL);
	sync_file_import_errno(to.fd, DMA_BUF_SYNC_RW, -1, EINVAL);

	close(carried);
	gem_close(vgem, handle);
	close(vgem);
	buffer_close(&from);
	buffer_close(&to);
}
