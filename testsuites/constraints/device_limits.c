/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"
#include "refdevice.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void refuses(int fd, unsigned long request, void *argument, int err, const char *what)
{
	int ret = refdev_call_raw(fd, request, argument);

	check(ret == -err, "%s: %s, expected %s", what, errname(ret), errname(err));
}

static void nonsense(int device)
{
	struct refdev_info info = { .size = sizeof(info) - 1 };
	struct { struct refdev_info info; uint64_t more; } longer = { .info.size = sizeof(longer) };

	refuses(device, _IO('d', 0), NULL, ENOTTY, "another driver's ioctl");
	refuses(device, _IOWR(0xed, 7, struct refdev_info), &info, ENOTTY, "an unknown ioctl");
	refuses(device, REFDEV_INFO, &info, EINVAL, "a wrong size");
	refuses(device, _IOC(_IOC_READ | _IOC_WRITE, 0xed, 0, sizeof(longer)), &longer, EINVAL,
		"a structure that is too long");
	refuses(device, _IOC(_IOC_WRITE, 0xed, 0, 4), &info, EINVAL, "one that is too short");
	refuses(device, _IOC(_IOC_WRITE, 0xed, 0, 8000), &longer, EINVAL, "one that is huge");
	info = (struct refdev_info){ .size = sizeof(info), .flags = 1 };
	refuses(device, REFDEV_INFO, &info, EINVAL, "an unknown flag");
	refuses(device, REFDEV_INFO, NULL, EFAULT, "no argument");
	refuses(device, REFDEV_INFO, (void *)-4096L, EFAULT, "an argument in the kernel");
}

static void attachments(int device, int dmabuf)
{
	struct refdev_attach attach = { .size = sizeof(attach), .flags = 1u << 31, .fd = dmabuf };
	struct refdev_detach detach = { .size = sizeof(detach), .id = 1 };
	uint32_t ids[REFDEV_BUFFERS];
	int file = open("/dev/null", O_RDWR | O_CLOEXEC), ret;

	refuses(device, REFDEV_ATTACH, &attach, EINVAL, "attach with an unknown flag");
	ret = refdev_attach_raw(device, -1, 0);
	check(ret == -EBADF, "attach of no descriptor: %s, expected EBADF", errname(ret));
	ret = refdev_attach_raw(device, file, 0);
	check(ret == -EINVAL, "attach of a file: %s, expected EINVAL", errname(ret));
	close(file);
	for (int i = 0; i < 3; i++) {
		detach.id = (uint32_t[]){ 0, 1, UINT32_MAX }[i];
		refuses(device, REFDEV_DETACH, &detach, ENOENT, "detach of what is not attached");
	}
	detach.pad = 1;
	refuses(device, REFDEV_DETACH, &detach, EINVAL, "detach with something in the padding");

	for (int i = 0; i < REFDEV_BUFFERS; i++)
		ids[i] = refdev_attach(device, dmabuf, i % 2 ? REFDEV_CACHED : 0);
	ret = refdev_attach_raw(device, dmabuf, 0);
	check(ret == -ENOSPC, "one attachment too many: %s, expected ENOSPC", errname(ret));
	for (int i = 0; i < REFDEV_BUFFERS; i++)
		refdev_detach(device, ids[i]);
	ret = refdev_detach_raw(device, ids[0]);
	check(ret == -ENOENT, "detached twice: %s, expected ENOENT", errname(ret));
}

static void transfer_refused(int device, struct refdev_transfer transfer, int err, const char *what)
{
	transfer.size = sizeof(transfer);
	refuses(device, REFDEV_TRANSFER, &transfer, err, what);
}

static void transfers(int device, int dmabuf, size_t size)
{
	uint32_t id = refdev_attach(device, dmabuf, REFDEV_READ_ONLY);
	struct refdev_transfer good = { .id = id, .length = 16 }, bad;
	struct refdev_wait wait = { .size = sizeof(wait), .id = id, .pad = 1 };

	bad = good, bad.id = id + 1;
	transfer_refused(device, bad, ENOENT, "a transfer of another attachment");
	bad = good, bad.flags = 2;
	transfer_refused(device, bad, EINVAL, "a transfer with an unknown flag");
	bad = good, bad.pad = 1;
	transfer_refused(device, bad, EINVAL, "a transfer with something in the padding");
	bad = good, bad.length = 0;
	transfer_refused(device, bad, EINVAL, "a transfer of nothing");
	bad = good, bad.length = REFDEV_MEMORY + 1;
	transfer_refused(device, bad, EINVAL, "more than the device's memory");
	bad = good, bad.memory = REFDEV_MEMORY - 15;
	transfer_refused(device, bad, EINVAL, "beyond the device's memory");
	bad = good, bad.memory = UINT32_MAX;
	transfer_refused(device, bad, EINVAL, "far beyond the device's memory");
	bad = good, bad.offset = size - 15;
	transfer_refused(device, bad, EINVAL, "beyond the buffer");
	bad = good, bad.offset = UINT64_MAX;
	transfer_refused(device, bad, EINVAL, "far beyond the buffer");
	bad = good, bad.flags = REFDEV_WRITE;
	transfer_refused(device, bad, EACCES, "a write into what is attached to be read");
	refuses(device, REFDEV_WAIT, &wait, EINVAL, "a wait with something in the padding");
	check(refdev_wait_raw(device, id + 1, 0) == -ENOENT, "a wait for another attachment");
	refdev_wait(device, id);	/* for no transfer at all */

	/* The last bytes that each side has are within the limits. */
	good.size = sizeof(good);
	good.offset = size - 16;
	good.memory = REFDEV_MEMORY - 16;
	check(!refdev_call_raw(device, REFDEV_TRANSFER, &good) && good.length == 16,
	      "a transfer up to both ends copied %u bytes", good.length);
	refdev_wait(device, id);
	refdev_detach(device, id);
}

static void barriers(int device, int dmabuf)
{
	struct buffer other = buffer_open("udmabuf", 4096);
	uint32_t one = refdev_attach(device, dmabuf, 0), two = refdev_attach(device, other.fd, 0);
	uint32_t same[] = { one, two, one }, gone[] = { one, two + 1 };

	check(refdev_barrier_raw(device, 2, same, 2) == -EINVAL, "a barrier with an unknown flag");
	check(refdev_barrier_raw(device, 0, same, 0) == -EINVAL, "a barrier of nothing");
	check(refdev_barrier_raw(device, 0, same, REFDEV_BARRIER_BUFFERS + 1) == -EINVAL,
	      "a barrier of too many");
	check(refdev_barrier_raw(device, 0, gone, 2) == -ENOENT, "a barrier of another attachment");
	check(refdev_barrier_raw(device, 0, same, 3) == -EALREADY, "a barrier of one buffer twice");
	check(!refdev_barrier_raw(device, 0, same, 2), "a barrier that nobody else is in the way of");
	refdev_detach(device, two);
	refdev_detach(device, one);
	buffer_close(&other);
}

CASE(device_limits, "The reference device tells its limits, and refuses whatever is beyond them",
     .timeout_ms = 20000, .params = "importer=refdev exporter=udmabuf size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int device = refdev_open(param_str("importer"));
	struct refdev_info about = refdev_info(device);
	struct refdev_counters before = refdev_counters(device), after;

	info("dma_bits", "%u", about.dma_bits);
	check(about.memory == REFDEV_MEMORY && about.buffers == REFDEV_BUFFERS,
	      "the device tells of %u bytes of memory and %u buffers", about.memory, about.buffers);
	nonsense(device);
	attachments(device, buffer.fd);
	transfers(device, buffer.fd, buffer.size);
	barriers(device, buffer.fd);
	after = refdev_counters(device);
	check(after.transfers - before.transfers == 1, "%llu transfers, expected the one that is valid",
	      (unsigned long long)(after.transfers - before.transfers));
	check(after.maps == after.unmaps && after.attaches == after.detaches,
	      "%llu maps and %llu attachments are left",
	      (unsigned long long)(after.maps - after.unmaps),
	      (unsigned long long)(after.attaches - after.detaches));
	close(device);
	buffer_close(&buffer);
}
