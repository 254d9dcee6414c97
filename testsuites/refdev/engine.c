// SPDX-License-Identifier: GPL-2.0
/* The engine: one transfer at a time, its completion fence, the interrupt, the watchdog. */
#include <linux/interrupt.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "device.h"

#define IRQ_STATUS 0x24
#define IRQ_ACKNOWLEDGE 0x64
#define IRQ_DMA 0x100
#define DMA_SOURCE 0x80
#define DMA_TARGET 0x88
#define DMA_COUNT 0x90
#define DMA_COMMAND 0x98
#define DMA_RUN 0x1
#define DMA_TO_RAM 0x2
#define DMA_INTERRUPT 0x4
#define DEVICE_MEMORY 0x40000

#define WATCHDOG_MS 2000	/* a transfer takes 100 ms */
#define PCI_STATUS_TROUBLE                                                                    \
	(PCI_STATUS_PARITY | PCI_STATUS_REC_TARGET_ABORT | PCI_STATUS_REC_MASTER_ABORT |      \
	 PCI_STATUS_DETECTED_PARITY)

/*
 * A fence may outlive the device, in a reservation object or a sync_file, and its functions are
 * code of this module: so it holds the module.
 */
struct refdev_fence {
	struct dma_fence base;
	spinlock_t lock;
};

static const char *refdev_fence_driver(struct dma_fence *fence)
{
	return "refdev";
}

static const char *refdev_fence_timeline(struct dma_fence *fence)
{
	return "engine";
}

/* The reference goes within RCU's callback: unloading waits for a grace period before it frees. */
static void refdev_fence_free(struct rcu_head *rcu)
{
	struct dma_fence *fence = container_of(rcu, struct dma_fence, rcu);

	kfree(container_of(fence, struct refdev_fence, base));
	module_put(THIS_MODULE);
}

static void refdev_fence_release(struct dma_fence *fence)
{
	call_rcu(&fence->rcu, refdev_fence_free);
}

static const struct dma_fence_ops refdev_fence_ops = {
	.get_driver_name = refdev_fence_driver,
	.get_timeline_name = refdev_fence_timeline,
	.release = refdev_fence_release,
};

static struct dma_fence *refdev_fence_of(struct refdev *device, u64 context, u64 number)
{
	struct refdev_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (!fence)
		return NULL;
	__module_get(THIS_MODULE);
	spin_lock_init(&fence->lock);
	dma_fence_init(&fence->base, &refdev_fence_ops, &fence->lock, context, number);
	refdev_count(device, COUNT_FENCES_INIT);
	return &fence->base;
}

/* The device's lock is held, so numbers follow the order in which transfers start. */
struct dma_fence *refdev_fence_new(struct refdev *device)
{
	return refdev_fence_of(device, device->fence_context, ++device->fence_number);
}

/* A fence that has no order with those of transfers. */
struct dma_fence *refdev_fence_alone(struct refdev *device)
{
	return refdev_fence_of(device, dma_fence_context_alloc(1), 1);
}

bool refdev_busy(struct refdev *device)
{
	return READ_ONCE(device->running);
}

bool refdev_is_broken(struct refdev *device)
{
	return READ_ONCE(device->broken);
}

/* The engine is idle and the device's lock is held: nobody else starts it. */
void refdev_start(struct refdev *device, struct dma_fence *fence, dma_addr_t address,
		  const struct refdev_transfer *transfer)
{
	u64 memory = DEVICE_MEMORY + transfer->memory;
	bool write = transfer->flags & REFDEV_WRITE;

	spin_lock_irq(&device->engine_lock);
	WRITE_ONCE(device->running, dma_fence_get(fence));
	device->deadline = jiffies + msecs_to_jiffies(WATCHDOG_MS);
	mod_timer(&device->watchdog, device->deadline);
	spin_unlock_irq(&device->engine_lock);
	refdev_count(device, COUNT_TRANSFERS);

	writeq(write ? memory : address, device->registers + DMA_SOURCE);
	writeq(write ? address : memory, device->registers + DMA_TARGET);
	writeq(transfer->length, device->registers + DMA_COUNT);
	writeq(DMA_RUN | DMA_INTERRUPT | (write ? DMA_TO_RAM : 0), device->registers + DMA_COMMAND);
}

/* Takes the transfer in flight, if there is one and, where `late`, its time is over. */
static struct dma_fence *refdev_finished(struct refdev *device, bool late)
{
	struct dma_fence *fence;
	unsigned long flags;

	spin_lock_irqsave(&device->engine_lock, flags);
	fence = device->running;
	if (late && time_before(jiffies, device->deadline))
		fence = NULL;
	if (fence) {
		WRITE_ONCE(device->broken, late);
		WRITE_ONCE(device->running, NULL);
		timer_delete(&device->watchdog);
	}
	spin_unlock_irqrestore(&device->engine_lock, flags);
	return fence;
}

void refdev_signal(struct refdev *device, struct dma_fence *fence)
{
	refdev_count(device, COUNT_FENCES_SIGNALLED);
	dma_fence_signal(fence);
	dma_fence_put(fence);
	wake_up_all(&device->idle);
}

static irqreturn_t refdev_interrupt(int irq, void *data)
{
	struct refdev *device = data;
	u32 status = readl(device->registers + IRQ_STATUS);
	struct dma_fence *fence;
	u16 trouble = 0;

	if (!status)
		return IRQ_NONE;
	writel(status, device->registers + IRQ_ACKNOWLEDGE);
	refdev_count(device, COUNT_INTERRUPTS);
	if (!(status & IRQ_DMA))
		return IRQ_HANDLED;
	pci_read_config_word(device->pdev, PCI_STATUS, &trouble);
	trouble &= PCI_STATUS_TROUBLE;
	if (trouble) {
		pci_write_config_word(device->pdev, PCI_STATUS, trouble);
		refdev_count(device, COUNT_FAULTS);
	}
	fence = refdev_finished(device, false);
	if (!fence)
		return IRQ_HANDLED;	/* the watchdog was faster */
	if (trouble)
		dma_fence_set_error(fence, -EIO);
	refdev_signal(device, fence);
	return IRQ_HANDLED;
}

/*
 * Whoever waits for a fence must get it, and may unmap or free the memory then: so the device is
 * first kept from the bus. What it wrote before comes ahead of the answer to the read. There is no
 * way to stop the engine itself, so it is not used again.
 */
static void refdev_stop(struct refdev *device)
{
	u16 command;

	pci_clear_master(device->pdev);
	pci_read_config_word(device->pdev, PCI_COMMAND, &command);
}

static void refdev_watchdog(struct timer_list *timer)
{
	struct refdev *device = container_of(timer, struct refdev, watchdog);
	struct dma_fence *fence = refdev_finished(device, true);

	if (!fence)
		return;
	refdev_stop(device);
	dev_err(&device->pdev->dev, "the transfer did not end within %u ms\n", WATCHDOG_MS);
	refdev_count(device, COUNT_TIMEOUTS);
	dma_fence_set_error(fence, -ETIMEDOUT);
	refdev_signal(device, fence);
}

int refdev_engine_init(struct refdev *device)
{
	int err;

	spin_lock_init(&device->engine_lock);
	init_waitqueue_head(&device->idle);
	timer_setup(&device->watchdog, refdev_watchdog, 0);
	device->fence_context = dma_fence_context_alloc(1);

	err = pci_alloc_irq_vectors(device->pdev, 1, 1, PCI_IRQ_MSI);
	if (err < 0)
		return dev_err_probe(&device->pdev->dev, err, "no message-signalled interrupt\n");
	device->irq = pci_irq_vector(device->pdev, 0);
	err = request_irq(device->irq, refdev_interrupt, 0, device->name, device);
	if (err)
		pci_free_irq_vectors(device->pdev);
	return err;
}

/* Nothing is in flight: whoever calls this has detached every buffer. */
void refdev_engine_exit(struct refdev *device)
{
	free_irq(device->irq, device);
	timer_delete_sync(&device->watchdog);
	pci_free_irq_vectors(device->pdev);
}
