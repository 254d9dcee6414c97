/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <poll.h>
#include <unistd.h>

CASE(sync_file_snapshot, "An exported sync_file holds the fences of its moment and no later ones",
     .params = "exporter=udmabuf fencer=drm:vgem size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int vgem = drm_open(param_str("fencer"));
	uint32_t handle = prime_import(vgem, buffer.fd), fence;
	int before, write, read, later;

	before = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW);
	sync_file_is(before, 1, "without a fence");

	fence = vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	sync_file_is(before, 1, "the earlier export, after a fence was attached");
	write = sync_file_export(buffer.fd, DMA_BUF_SYNC_WRITE);
	read = sync_file_export(buffer.fd, DMA_BUF_SYNC_READ);
	sync_file_is(write, 0, "what a writer waits for, under a write fence");
	sync_file_is(read, 0, "what a reader waits for, under a write fence");
	poll_blocked(read, POLLIN);
	vgem_fence_signal(vgem, fence);
	poll_ready(read, POLLIN, 1000);
	sync_file_is(write, 1, "the writer's, after the signal");
	sync_file_is(read, 1, "the reader's, after the signal");

	/* A fence that comes later is not in what was exported before it. */
	fence = vgem_fence_attach(vgem, handle, VGEM_FENCE_WRITE);
	later = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW);
	sync_file_is(write, 1, "the old export, under a new fence");
	sync_file_is(later, 0, "the new export, under the new fence");
	vgem_fence_signal(vgem, fence);
	sync_file_is(later, 1, "the new export, after its signal");
	close(write);
	close(read);
	close(later);

	/* Readers do not wait for readers. */
	fence = vgem_fence_attach(vgem, handle, 0);
	write = sync_file_export(buffer.fd, DMA_BUF_SYNC_WRITE);
	read = sync_file_export(buffer.fd, DMA_BUF_SYNC_READ);
	sync_file_is(read, 1, "what a reader waits for, under a read fence");
	sync_file_is(write, 0, "what a writer waits for, under a read fence");
	vgem_fence_signal(vgem, fence);
	sync_file_is(write, 1, "the writer's, after the reader's signal");

	sync_file_export_errno(buffer.fd, 0, EINVAL);
	sync_file_export_errno(buffer.fd, DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END, EINVAL);

	close(write);
	close(read);
	close(before);
	gem_close(vgem, handle);
	close(vgem);
	buffer_close(&buffer);
}
