// SPDX-License-Identifier: GPL-2.0
/* The device node: open, release, and ioctls that check all that they are given. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "device.h"

/* Every argument begins so. */
struct refdev_header {
	__u32 size;
	__u32 flags;
};

union refdev_argument {
	struct refdev_header header;
	struct refdev_info info;
	struct refdev_attach attach;
	struct refdev_detach detach;
	struct refdev_transfer transfer;
	struct refdev_wait wait;
	struct refdev_counters counters;
	struct refdev_barrier barrier;
};

static int refdev_open(struct inode *inode, struct file *filp)
{
	struct refdev *device = container_of(filp->private_data, struct refdev, misc);
	struct refdev_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return -ENOMEM;
	kref_get(&device->refs);
	file->device = device;
	mutex_lock(&device->lock);
	list_add(&file->list, &device->files);
	mutex_unlock(&device->lock);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

/* Also where the process died with a transfer in flight: it is waited for. */
static int refdev_close(struct inode *inode, struct file *filp)
{
	struct refdev_file *file = filp->private_data;
	struct refdev *device = file->device;

	mutex_lock(&device->lock);
	refdev_detach_all(file);
	list_del(&file->list);
	mutex_unlock(&device->lock);
	kfree(file);
	kref_put(&device->refs, refdev_release);
	return 0;
}

static int refdev_tell(struct refdev *device, struct refdev_info *info)
{
	if (info->flags)
		return -EINVAL;
	info->version = REFDEV_VERSION;
	info->dma_bits = fls64(dma_get_mask(&device->pdev->dev));
	info->memory = REFDEV_MEMORY;
	info->buffers = REFDEV_BUFFERS;
	return 0;
}

static int refdev_read_counters(struct refdev *device, struct refdev_counters *counters)
{
	u64 *values = &counters->attaches;

	BUILD_BUG_ON(sizeof(*counters) != offsetof(struct refdev_counters, attaches) +
		     COUNTERS * sizeof(*values));
	if (counters->flags)
		return -EINVAL;
	for (int i = 0; i < COUNTERS; i++)
		values[i] = atomic64_read(&device->counters[i]);
	return 0;
}

/* What is done with the device's lock held, after it is certain that there still is a device. */
static int refdev_locked(struct refdev_file *file, unsigned int command,
			 union refdev_argument *argument)
{
	struct refdev *device = file->device;
	int err;

	err = mutex_lock_interruptible(&device->lock);
	if (err)
		return -EINTR;
	if (device->gone)
		err = -ENODEV;
	else if (command == REFDEV_INFO)
		err = refdev_tell(device, &argument->info);
	else if (command == REFDEV_ATTACH)
		err = refdev_attach(file, &argument->attach);
	else
		err = refdev_detach(file, argument->detach.id);
	mutex_unlock(&device->lock);
	return err;
}

static int refdev_command(struct refdev_file *file, unsigned int command,
			  union refdev_argument *argument)
{
	switch (command) {
	case REFDEV_INFO:
		return refdev_locked(file, command, argument);
	case REFDEV_ATTACH:
		if (argument->attach.flags & ~(REFDEV_CACHED | REFDEV_READ_ONLY))
			return -EINVAL;
		return refdev_locked(file, command, argument);
	case REFDEV_DETACH:
		if (argument->detach.flags || argument->detach.pad)
			return -EINVAL;
		return refdev_locked(file, command, argument);
	case REFDEV_TRANSFER:
		if ((argument->transfer.flags & ~REFDEV_WRITE) || argument->transfer.pad)
			return -EINVAL;
		return refdev_transfer(file, &argument->transfer);
	case REFDEV_WAIT:
		if (argument->wait.flags || argument->wait.pad)
			return -EINVAL;
		return refdev_wait(file, &argument->wait);
	case REFDEV_COUNTERS:
		return refdev_read_counters(file->device, &argument->counters);
	case REFDEV_BARRIER:
		if (argument->barrier.flags & ~REFDEV_LINGER)
			return -EINVAL;
		return refdev_barrier(file, &argument->barrier);
	}
	return -EINVAL;	/* a number that is known, with a size or a direction that is not */
}

static long refdev_ioctl(struct file *filp, unsigned int command, unsigned long address)
{
	void __user *user = (void __user *)address;
	size_t size = _IOC_SIZE(command);
	union refdev_argument argument;
	int err;

	if (_IOC_TYPE(command) != _IOC_TYPE(REFDEV_INFO))
		return -ENOTTY;
	if (_IOC_NR(command) > _IOC_NR(REFDEV_BARRIER))
		return -ENOTTY;
	if (size < sizeof(argument.header) || size > sizeof(argument))
		return -EINVAL;
	memset(&argument, 0, sizeof(argument));
	if (copy_from_user(&argument, user, size))
		return -EFAULT;
	if (argument.header.size != size)
		return -EINVAL;
	err = refdev_command(filp->private_data, command, &argument);
	if ((!err || command == REFDEV_WAIT) && (_IOC_DIR(command) & _IOC_READ) &&
	    copy_to_user(user, &argument, size))
		return -EFAULT;
	return err;
}

const struct file_operations refdev_file_operations = {
	.owner = THIS_MODULE,
	.open = refdev_open,
	.release = refdev_close,
	.unlocked_ioctl = refdev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
