// SPDX-License-Identifier: GPL-2.0
/* One fence for several buffers, whose reservation locks are taken together, in any order. */
#include <linux/delay.h>
#include <linux/dma-resv.h>

#include "device.h"

#define LINGER_US 20

struct refdev_batch {
	struct dma_buf *dmabufs[REFDEV_BARRIER_BUFFERS];	/* references */
	u32 count;
	bool linger;
	u32 backoffs;
	struct ww_acquire_ctx ticket;
};

static void refdev_batch_put(struct refdev_batch *batch)
{
	while (batch->count)
		dma_buf_put(batch->dmabufs[--batch->count]);
}

/* The buffers that the ids name. What is detached meanwhile stays until the barrier is done. */
static int refdev_batch_get(struct refdev_file *file, const struct refdev_barrier *barrier,
			    struct refdev_batch *batch)
{
	struct refdev *device = file->device;
	int err;

	err = mutex_lock_interruptible(&device->lock);
	if (err)
		return -EINTR;
	err = device->gone ? -ENODEV : 0;
	while (!err && batch->count < barrier->count) {
		struct refdev_buffer *buffer = refdev_buffer(file, barrier->ids[batch->count]);

		if (buffer) {
			get_dma_buf(buffer->dmabuf);
			batch->dmabufs[batch->count++] = buffer->dmabuf;
		} else {
			err = -ENOENT;
		}
	}
	mutex_unlock(&device->lock);
	if (err)
		refdev_batch_put(batch);
	return err;
}

/* Takes the locks but that of `held`, which is held already; on an error none is held any more. */
static int refdev_batch_try(struct refdev_batch *batch, u32 held, u32 *failed)
{
	for (u32 i = 0; i < batch->count; i++) {
		int err;

		if (i == held)
			continue;
		err = dma_resv_lock_interruptible(batch->dmabufs[i]->resv, &batch->ticket);
		if (err) {
			*failed = i;
			for (u32 j = 0; j < batch->count; j++)
				if (j < i || j == held)
					dma_resv_unlock(batch->dmabufs[j]->resv);
			return err;
		}
		if (batch->linger)
			usleep_range(LINGER_US, 2 * LINGER_US);
	}
	return 0;
}

static int refdev_batch_lock(struct refdev_batch *batch)
{
	u32 held = REFDEV_BARRIER_BUFFERS, failed = 0;	/* at first none */
	int err;

	ww_acquire_init(&batch->ticket, &reservation_ww_class);
	while ((err = refdev_batch_try(batch, held, &failed)) == -EDEADLK) {
		batch->backoffs++;
		held = failed;
		err = dma_resv_lock_slow_interruptible(batch->dmabufs[held]->resv, &batch->ticket);
		if (err)
			break;
	}
	if (err)
		ww_acquire_fini(&batch->ticket);
	else
		ww_acquire_done(&batch->ticket);
	return err;
}

static void refdev_batch_unlock(struct refdev_batch *batch)
{
	for (u32 i = 0; i < batch->count; i++)
		dma_resv_unlock(batch->dmabufs[i]->resv);
	ww_acquire_fini(&batch->ticket);
}

/* All locks are held: each buffer has room for the fence before any gets it. */
static int refdev_batch_fence(struct refdev_batch *batch, struct dma_fence *fence)
{
	for (u32 i = 0; i < batch->count; i++) {
		int err = dma_resv_reserve_fences(batch->dmabufs[i]->resv, 1);

		if (err)
			return err;
	}
	for (u32 i = 0; i < batch->count; i++)
		dma_resv_add_fence(batch->dmabufs[i]->resv, fence, DMA_RESV_USAGE_WRITE);
	return 0;
}

int refdev_barrier(struct refdev_file *file, struct refdev_barrier *barrier)
{
	struct refdev_batch batch = { .linger = barrier->flags & REFDEV_LINGER };
	struct dma_fence *fence;
	int err;

	if (!barrier->count || barrier->count > REFDEV_BARRIER_BUFFERS)
		return -EINVAL;
	err = refdev_batch_get(file, barrier, &batch);
	if (err)
		return err;
	err = -ENOMEM;
	fence = refdev_fence_alone(file->device);
	if (!fence)
		goto put;
	err = refdev_batch_lock(&batch);
	if (!err) {
		err = refdev_batch_fence(&batch, fence);
		refdev_batch_unlock(&batch);
	}
	refdev_signal(file->device, fence);
	barrier->backoffs = batch.backoffs;
put:
	refdev_batch_put(&batch);
	return err == -ERESTARTSYS ? -EINTR : err;
}
