// SPDX-License-Identifier: GPL-2.0
/* Attached buffers: when they are mapped, how long, and what a transfer does with their fences. */
#include <linux/dma-resv.h>
#include <linux/scatterlist.h>

#include "device.h"

/* The attachment that an id names in this file; NULL if there is none. */
struct refdev_buffer *refdev_buffer(struct refdev_file *file, u32 id)
{
	if (!id || id > REFDEV_BUFFERS || !file->buffers[id - 1].dmabuf)
		return NULL;
	return &file->buffers[id - 1];
}

/* The buffer's reservation lock is held. */
static int refdev_map(struct refdev *device, struct refdev_buffer *buffer)
{
	bool read_only = buffer->flags & REFDEV_READ_ONLY;
	struct sg_table *table;

	if (buffer->table)
		return 0;
	table = dma_buf_map_attachment(buffer->attachment,
				       read_only ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL);
	if (IS_ERR(table))
		return PTR_ERR(table);
	buffer->table = table;
	refdev_count(device, COUNT_MAPS);
	return 0;
}

/* The buffer's reservation lock is held, and its transfer is done. */
static void refdev_unmap(struct refdev *device, struct refdev_buffer *buffer)
{
	bool read_only = buffer->flags & REFDEV_READ_ONLY;

	if (!buffer->table)
		return;
	dma_buf_unmap_attachment(buffer->attachment, buffer->table,
				 read_only ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL);
	buffer->table = NULL;
	refdev_count(device, COUNT_UNMAPS);
}

int refdev_attach(struct refdev_file *file, struct refdev_attach *attach)
{
	struct refdev *device = file->device;
	struct refdev_buffer buffer = { .flags = attach->flags };
	u32 id = 1;
	int err = 0;

	while (id <= REFDEV_BUFFERS && refdev_buffer(file, id))
		id++;
	if (id > REFDEV_BUFFERS)
		return -ENOSPC;
	buffer.dmabuf = dma_buf_get(attach->fd);
	if (IS_ERR(buffer.dmabuf))
		return PTR_ERR(buffer.dmabuf);
	buffer.attachment = dma_buf_attach(buffer.dmabuf, &device->pdev->dev);
	if (IS_ERR(buffer.attachment)) {
		err = PTR_ERR(buffer.attachment);
		goto put;
	}
	if (buffer.flags & REFDEV_CACHED) {
		dma_resv_lock(buffer.dmabuf->resv, NULL);
		err = refdev_map(device, &buffer);
		dma_resv_unlock(buffer.dmabuf->resv);
		if (err)
			goto detach;
	}
	refdev_count(device, COUNT_ATTACHES);
	file->buffers[id - 1] = buffer;
	attach->id = id;
	return 0;

detach:
	dma_buf_detach(buffer.dmabuf, buffer.attachment);
put:
	dma_buf_put(buffer.dmabuf);
	return err;
}

static void refdev_drop(struct refdev *device, struct refdev_buffer *buffer)
{
	/* Our own fence: the interrupt or the watchdog signals it, neither of which takes a lock. */
	if (buffer->last)
		dma_fence_wait(buffer->last, false);
	dma_resv_lock(buffer->dmabuf->resv, NULL);
	refdev_unmap(device, buffer);
	dma_resv_unlock(buffer->dmabuf->resv);
	dma_buf_detach(buffer->dmabuf, buffer->attachment);
	refdev_count(device, COUNT_DETACHES);
	dma_buf_put(buffer->dmabuf);
	dma_fence_put(buffer->last);
	memset(buffer, 0, sizeof(*buffer));
}

int refdev_detach(struct refdev_file *file, u32 id)
{
	struct refdev_buffer *buffer = refdev_buffer(file, id);

	if (!buffer)
		return -ENOENT;
	refdev_drop(file->device, buffer);
	return 0;
}

void refdev_detach_all(struct refdev_file *file)
{
	for (u32 id = 1; id <= REFDEV_BUFFERS; id++)
		refdev_detach(file, id);
}

/* What is contiguous for the device from `offset` on, at most *length bytes; 0 if nothing is. */
static dma_addr_t refdev_address(struct sg_table *table, u64 offset, u32 *length)
{
	struct scatterlist *entry;
	dma_addr_t first = 0;
	u64 run = 0;
	int i;

	for_each_sgtable_dma_sg(table, entry, i) {
		u64 size = sg_dma_len(entry);

		if (!run && offset >= size) {
			offset -= size;
			continue;
		}
		if (!run) {
			first = sg_dma_address(entry) + offset;
			run = size - offset;
		} else if (sg_dma_address(entry) == first + run) {
			run += size;
		} else {
			break;
		}
		if (run >= *length)
			break;
	}
	*length = min_t(u64, run, *length);
	return first;
}

static int refdev_check(const struct refdev_buffer *buffer,
			const struct refdev_transfer *transfer)
{
	if ((transfer->flags & REFDEV_WRITE) && (buffer->flags & REFDEV_READ_ONLY))
		return -EACCES;
	if (!transfer->length || transfer->length > REFDEV_MEMORY ||
	    transfer->memory > REFDEV_MEMORY - transfer->length)
		return -EINVAL;
	if (transfer->offset >= buffer->dmabuf->size ||
	    transfer->length > buffer->dmabuf->size - transfer->offset)
		return -EINVAL;
	return 0;
}

/*
 * The reservation lock is held, the engine idle, and no fence of others in the way. An exporter may
 * add a fence while it maps, so a slot for ours is reserved after that.
 */
static int refdev_run(struct refdev *device, struct refdev_buffer *buffer,
		      struct refdev_transfer *transfer)
{
	bool write = transfer->flags & REFDEV_WRITE;
	struct dma_resv *resv = buffer->dmabuf->resv;
	struct dma_fence *fence;
	dma_addr_t address;
	u32 length = transfer->length;
	bool signalling;
	int err;

	if (!(buffer->flags & REFDEV_CACHED))
		refdev_unmap(device, buffer);
	err = refdev_map(device, buffer);
	if (err)
		return err;
	address = refdev_address(buffer->table, transfer->offset, &length);
	err = -EIO;		/* the exporter's map is not what the device can use */
	if (!length || address + length - 1 > dma_get_mask(&device->pdev->dev))
		goto unmap;
	err = dma_resv_reserve_fences(resv, 1);
	if (err)
		goto unmap;
	err = -ENOMEM;
	fence = refdev_fence_new(device);
	if (!fence)
		goto unmap;
	transfer->length = length;
	transfer->dma_address = address;
	signalling = dma_fence_begin_signalling();
	dma_resv_add_fence(resv, fence, write ? DMA_RESV_USAGE_WRITE : DMA_RESV_USAGE_READ);
	dma_fence_put(buffer->last);
	buffer->last = fence;
	refdev_start(device, fence, address, transfer);
	dma_fence_end_signalling(signalling);
	return 0;

unmap:
	if (!(buffer->flags & REFDEV_CACHED))
		refdev_unmap(device, buffer);
	return err;
}

/* Starts the transfer; -EAGAIN where it would have to wait first. */
static int refdev_try(struct refdev_file *file, struct refdev_transfer *transfer)
{
	struct refdev *device = file->device;
	struct refdev_buffer *buffer;
	struct dma_resv *resv;
	int err;

	err = mutex_lock_interruptible(&device->lock);
	if (err)
		return err;
	buffer = refdev_buffer(file, transfer->id);
	err = device->gone ? -ENODEV : !buffer ? -ENOENT : refdev_check(buffer, transfer);
	if (err)
		goto unlock;
	err = refdev_is_broken(device) ? -EIO : refdev_busy(device) ? -EAGAIN : 0;
	if (err)
		goto unlock;
	resv = buffer->dmabuf->resv;
	err = dma_resv_lock_interruptible(resv, NULL);
	if (err)
		goto unlock;
	if (dma_resv_test_signaled(resv, dma_resv_usage_rw(transfer->flags & REFDEV_WRITE)))
		err = refdev_run(device, buffer, transfer);
	else
		err = -EAGAIN;
	dma_resv_unlock(resv);
unlock:
	mutex_unlock(&device->lock);
	return err;
}

/* Waits, with no lock held, for what held refdev_try() back. */
static int refdev_await(struct refdev_file *file, const struct refdev_transfer *transfer)
{
	enum dma_resv_usage usage = dma_resv_usage_rw(transfer->flags & REFDEV_WRITE);
	struct refdev *device = file->device;
	struct refdev_buffer *buffer;
	struct dma_buf *dmabuf = NULL;
	long left;

	mutex_lock(&device->lock);
	buffer = refdev_buffer(file, transfer->id);
	if (buffer) {
		dmabuf = buffer->dmabuf;
		get_dma_buf(dmabuf);
	}
	mutex_unlock(&device->lock);
	if (!dmabuf)
		return 0;	/* the next try says what it is */
	left = dma_resv_wait_timeout(dmabuf->resv, usage, true, MAX_SCHEDULE_TIMEOUT);
	dma_buf_put(dmabuf);
	if (left < 0)
		return left;
	return wait_event_interruptible(device->idle, !refdev_busy(device) ||
					READ_ONCE(device->gone));
}

int refdev_transfer(struct refdev_file *file, struct refdev_transfer *transfer)
{
	int err;

	while ((err = refdev_try(file, transfer)) == -EAGAIN) {
		err = refdev_await(file, transfer);
		if (err)
			break;
	}
	/* A started engine is not started again: the caller sees the signal. */
	return err == -ERESTARTSYS ? -EINTR : err;
}

/* Ends a mapping that lasts for a transfer, unless the next transfer has begun meanwhile. */
static int refdev_settle(struct refdev_file *file, u32 id, struct dma_fence *fence)
{
	struct refdev *device = file->device;
	struct refdev_buffer *buffer;

	mutex_lock(&device->lock);
	buffer = refdev_buffer(file, id);
	if (buffer && buffer->last == fence && !(buffer->flags & REFDEV_CACHED)) {
		dma_resv_lock(buffer->dmabuf->resv, NULL);
		refdev_unmap(device, buffer);
		dma_resv_unlock(buffer->dmabuf->resv);
	}
	mutex_unlock(&device->lock);
	return dma_fence_get_status(fence) < 0 ? dma_fence_get_status(fence) : 0;
}

int refdev_wait(struct refdev_file *file, struct refdev_wait *wait)
{
	struct refdev *device = file->device;
	struct refdev_buffer *buffer;
	struct dma_fence *fence;
	long left = 1;
	int err;

	wait->done = 0;
	err = mutex_lock_interruptible(&device->lock);
	if (err)
		return -EINTR;
	buffer = refdev_buffer(file, wait->id);
	fence = buffer ? dma_fence_get(buffer->last) : NULL;
	err = device->gone ? -ENODEV : buffer ? 0 : -ENOENT;
	mutex_unlock(&device->lock);
	if (err)
		goto put;
	if (fence)
		left = dma_fence_wait_timeout(fence, true, msecs_to_jiffies(wait->timeout_ms));
	if (left > 0) {
		wait->done = 1;
		err = fence ? refdev_settle(file, wait->id, fence) : 0;
	} else {
		err = left ? -EINTR : -ETIMEDOUT;
	}
put:
	dma_fence_put(fence);
	return err;
}
