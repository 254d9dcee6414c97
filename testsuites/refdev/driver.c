// SPDX-License-Identifier: GPL-2.0
/*
 * The reference device on QEMU's "edu" PCI function: probe, remove, module.
 *
 * Its job is to be a dma-buf importer that does real DMA and whose behaviour is the same on every
 * kernel, so that what a test sees is the exporter's and the core's doing.
 */
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "device.h"

#define REGISTERS_BAR 0
#define IDENTITY 0x00
#define IDENTITY_EDU 0xed
#define LIVENESS 0x04

static unsigned int dma_bits = 28;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "Address bits that the device can drive: 28 (as QEMU makes it), or 32");

#ifdef CONFIG_DEBUG_KMEMLEAK
/* Loses memory on purpose: the positive control of those who look for leaks. */
static int refdev_lose(const char *text, const struct kernel_param *param)
{
	unsigned int bytes;
	void *lost;
	int err = kstrtouint(text, 0, &bytes);

	if (err)
		return err;
	if (!bytes || bytes > PAGE_SIZE)
		return -EINVAL;
	lost = kmalloc(bytes, GFP_KERNEL);
	return lost ? 0 : -ENOMEM;
}

static const struct kernel_param_ops refdev_lose_ops = { .set = refdev_lose };
module_param_cb(lose, &refdev_lose_ops, NULL, 0200);
MODULE_PARM_DESC(lose, "Write a number of bytes, up to a page: so many are allocated and never freed");
#endif

static DEFINE_IDA(numbers);

void refdev_release(struct kref *refs)
{
	kfree(container_of(refs, struct refdev, refs));
}

/* It must say that it is an edu, and answer with the complement. */
static int refdev_identify(struct refdev *device)
{
	u32 identity = readl(device->registers + IDENTITY);
	u32 answer;

	writel(0x5eed5eed, device->registers + LIVENESS);
	answer = readl(device->registers + LIVENESS);
	if ((identity & 0xff) == IDENTITY_EDU && answer == ~0x5eed5eedu)
		return 0;
	return dev_err_probe(&device->pdev->dev, -ENODEV, "no edu: identity %#x, answer %#x\n",
			     identity, answer);
}

static int refdev_enable(struct refdev *device)
{
	struct pci_dev *pdev = device->pdev;
	int err;

	err = pci_enable_device(pdev);
	if (err)
		return err;
	err = pci_request_region(pdev, REGISTERS_BAR, "refdev");
	if (err)
		goto disable;
	device->registers = pci_iomap(pdev, REGISTERS_BAR, 0);
	if (!device->registers) {
		err = -ENOMEM;
		goto release;
	}
	err = refdev_identify(device);
	if (err)
		goto unmap;
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(dma_bits));
	if (err) {
		dev_err_probe(&pdev->dev, err, "%u bits do not reach this machine's memory\n",
			      dma_bits);
		goto unmap;
	}
	dma_set_max_seg_size(&pdev->dev, U32_MAX);
	pci_set_master(pdev);
	err = refdev_engine_init(device);
	if (!err)
		return 0;
	pci_clear_master(pdev);
unmap:
	pci_iounmap(pdev, device->registers);
release:
	pci_release_region(pdev, REGISTERS_BAR);
disable:
	pci_disable_device(pdev);
	return err;
}

static void refdev_disable(struct refdev *device)
{
	struct pci_dev *pdev = device->pdev;

	pci_clear_master(pdev);
	refdev_engine_exit(device);
	pci_iounmap(pdev, device->registers);
	pci_release_region(pdev, REGISTERS_BAR);
	pci_disable_device(pdev);
}

static struct refdev *refdev_new(struct pci_dev *pdev)
{
	struct refdev *device = kzalloc(sizeof(*device), GFP_KERNEL);
	int number;

	if (!device)
		return ERR_PTR(-ENOMEM);
	number = ida_alloc(&numbers, GFP_KERNEL);
	if (number < 0) {
		kfree(device);
		return ERR_PTR(number);
	}
	kref_init(&device->refs);
	mutex_init(&device->lock);
	INIT_LIST_HEAD(&device->files);
	device->pdev = pdev;
	device->number = number;
	snprintf(device->name, sizeof(device->name), "refdev%d", number);
	device->misc.minor = MISC_DYNAMIC_MINOR;
	device->misc.name = device->name;
	device->misc.fops = &refdev_file_operations;
	device->misc.parent = &pdev->dev;
	device->misc.mode = 0600;
	return device;
}

static int refdev_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct refdev *device;
	int err;

	if (dma_bits != 28 && dma_bits != 32)
		return dev_err_probe(&pdev->dev, -EINVAL, "dma_bits=%u is neither 28 nor 32\n",
				     dma_bits);
	device = refdev_new(pdev);
	if (IS_ERR(device))
		return PTR_ERR(device);
	err = refdev_enable(device);
	if (err)
		goto drop;
	pci_set_drvdata(pdev, device);
	err = misc_register(&device->misc);
	if (err)
		goto disable;
	dev_info(&pdev->dev, "%s with %u address bits\n", device->name, dma_bits);
	return 0;

disable:
	refdev_disable(device);
drop:
	ida_free(&numbers, device->number);
	kref_put(&device->refs, refdev_release);
	return err;
}

/* Files may stay open: what they have attached goes now, and all they can still do is close. */
static void refdev_remove(struct pci_dev *pdev)
{
	struct refdev *device = pci_get_drvdata(pdev);
	struct refdev_file *file;

	misc_deregister(&device->misc);
	mutex_lock(&device->lock);
	device->gone = true;
	list_for_each_entry(file, &device->files, list)
		refdev_detach_all(file);
	mutex_unlock(&device->lock);
	wake_up_all(&device->idle);
	refdev_disable(device);
	ida_free(&numbers, device->number);
	kref_put(&device->refs, refdev_release);
}

static const struct pci_device_id refdev_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, refdev_ids);

static struct pci_driver refdev_driver = {
	.name = "refdev",
	.id_table = refdev_ids,
	.probe = refdev_probe,
	.remove = refdev_remove,
};

static int __init refdev_init(void)
{
	return pci_register_driver(&refdev_driver);
}
module_init(refdev_init);

static void __exit refdev_exit(void)
{
	pci_unregister_driver(&refdev_driver);
	rcu_barrier();	/* fences are freed by RCU, in code of this module */
	ida_destroy(&numbers);
}
module_exit(refdev_exit);

MODULE_DESCRIPTION("Reference dma-buf importer on QEMU's edu device");
MODULE_LICENSE("GPL");
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("DMA_BUF");
#else
MODULE_IMPORT_NS(DMA_BUF);
#endif
