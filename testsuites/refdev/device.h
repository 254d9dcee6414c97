/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of this module share. */
#ifndef REFDEV_DEVICE_H
#define REFDEV_DEVICE_H

#include <linux/atomic.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>

#include "refdev.h"

/* In the order of struct refdev_counters. */
enum refdev_counter {
	COUNT_ATTACHES,
	COUNT_DETACHES,
	COUNT_MAPS,
	COUNT_UNMAPS,
	COUNT_TRANSFERS,
	COUNT_INTERRUPTS,
	COUNT_FENCES_INIT,
	COUNT_FENCES_SIGNALLED,
	COUNT_FAULTS,
	COUNT_TIMEOUTS,
	COUNTERS
};

/*
 * One PCI function. It outlives its PCI device as long as a file is open: then `gone` is set.
 *
 * Lock order: lock, a buffer's reservation lock, engine_lock. Nobody waits for a fence of others
 * with any of them held. Several reservation locks are taken by ticket, without `lock`.
 */
struct refdev {
	struct kref refs;
	struct pci_dev *pdev;
	void __iomem *registers;
	int irq;
	unsigned int number;
	char name[24];
	struct miscdevice misc;

	struct mutex lock;		/* gone, files, and every file's attachments */
	bool gone;
	struct list_head files;

	spinlock_t engine_lock;		/* running, deadline, broken */
	struct dma_fence *running;	/* of the transfer in flight, a reference */
	unsigned long deadline;		/* of the transfer in flight, in jiffies */
	bool broken;
	wait_queue_head_t idle;
	struct timer_list watchdog;
	u64 fence_context;
	u64 fence_number;

	atomic64_t counters[COUNTERS];
};

struct refdev_buffer {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;		/* while mapped */
	struct dma_fence *last;		/* of its last transfer, a reference */
	u32 flags;
};

struct refdev_file {
	struct refdev *device;
	struct list_head list;
	struct refdev_buffer buffers[REFDEV_BUFFERS];
};

static inline void refdev_count(struct refdev *device, enum refdev_counter counter)
{
	atomic64_inc(&device->counters[counter]);
}

void refdev_release(struct kref *refs);

/* engine.c */
int refdev_engine_init(struct refdev *device);
void refdev_engine_exit(struct refdev *device);
bool refdev_busy(struct refdev *device);
bool refdev_is_broken(struct refdev *device);
struct dma_fence *refdev_fence_new(struct refdev *device);
struct dma_fence *refdev_fence_alone(struct refdev *device);
void refdev_signal(struct refdev *device, struct dma_fence *fence);
void refdev_start(struct refdev *device, struct dma_fence *fence, dma_addr_t address,
		  const struct refdev_transfer *transfer);

/* buffers.c: all but refdev_transfer() and refdev_wait() want the device's lock held */
struct refdev_buffer *refdev_buffer(struct refdev_file *file, u32 id);
int refdev_attach(struct refdev_file *file, struct refdev_attach *attach);
int refdev_detach(struct refdev_file *file, u32 id);
void refdev_detach_all(struct refdev_file *file);
int refdev_transfer(struct refdev_file *file, struct refdev_transfer *transfer);
int refdev_wait(struct refdev_file *file, struct refdev_wait *wait);

/* barrier.c */
int refdev_barrier(struct refdev_file *file, struct refdev_barrier *barrier);

/* files.c */
extern const struct file_operations refdev_file_operations;

#endif
