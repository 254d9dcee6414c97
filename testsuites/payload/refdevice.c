/* SPDX-License-Identifier: MIT */
/* The reference device: attachments of ../refdev/refdev.h's importer, transfers, counters. */
#define FARM_HELPERS
#include "calls.h"
#include "refdevice.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>


int refdev_open_raw(const char *address)
{
	char path[32], *end;
	unsigned long number = 0;
	int fd;

	if (strncmp(address, "refdev", 6) || (address[6] && address[6] != ':'))
		return -EINVAL;
	if (address[6]) {
		number = strtoul(address + 7, &end, 10);
		if (end == address + 7 || *end)
			return -EINVAL;
	}
	snprintf(path, sizeof(path), "/dev/refdev%lu", number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int refdev_open(const char *address)
{
	int fd = refdev_open_raw(address);

	if (fd == -EINVAL)
		broken("'%s' is neither refdev nor refdev:NUMBER", address);
	if (fd < 0)
		fail("no reference device at '%s': %s", address, errname(fd));
	return fd;
}

void refdev_function(int fd, char name[64])
{
	char path[PATH_MAX], target[PATH_MAX];
	struct stat status;

	if (fstat(fd, &status) < 0)
		broken("fstat: %s", errname(errno));
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/device", major(status.st_rdev),
		 minor(status.st_rdev));
	if (!realpath(path, target))
		broken("%s: %s", path, errname(errno));
	snprintf(name, 64, "%s", strrchr(target, '/') + 1);
}

int refdev_call_raw(int fd, unsigned long request, void *argument)
{
	int ret;

	do {
		ret = ioctl(fd, request, argument);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

struct refdev_info refdev_info(int fd)
{
	struct refdev_info info = { .size = sizeof(info) };

	must(refdev_call_raw(fd, REFDEV_INFO, &info), "REFDEV_INFO");
	if (info.version != REFDEV_VERSION)
		broken("the reference device's interface has version %u, expected %u", info.version,
		       REFDEV_VERSION);
	return info;
}

int refdev_attach_raw(int fd, int dmabuf, uint32_t flags)
{
	struct refdev_attach attach = { .size = sizeof(attach), .flags = flags, .fd = dmabuf };
	int err = refdev_call_raw(fd, REFDEV_ATTACH, &attach);

	return err ? err : (int)attach.id;
}

uint32_t refdev_attach(int fd, int dmabuf, uint32_t flags)
{
	int id = refdev_attach_raw(fd, dmabuf, flags);

	must(id, "REFDEV_ATTACH");
	return (uint32_t)id;
}

int refdev_detach_raw(int fd, uint32_t id)
{
	struct refdev_detach detach = { .size = sizeof(detach), .id = id };

	return refdev_call_raw(fd, REFDEV_DETACH, &detach);
}

void refdev_detach(int fd, uint32_t id)
{
	must(refdev_detach_raw(fd, id), "REFDEV_DETACH");
}

static int start(int fd, struct refdev_transfer *transfer)
{
	transfer->size = sizeof(*transfer);
	return refdev_call_raw(fd, REFDEV_TRANSFER, transfer);
}

int refdev_start_raw(int fd, uint32_t id, uint32_t flags, uint64_t offset, uint32_t length,
		     uint64_t *dma_address)
{
	struct refdev_transfer transfer = {
		.flags = flags, .id = id, .offset = offset, .length = length,
	};
	int err = start(fd, &transfer);

	if (dma_address)
		*dma_address = transfer.dma_address;
	return err ? err : (int)transfer.length;
}

uint32_t refdev_start(int fd, uint32_t id, uint32_t flags, uint64_t offset, uint32_t length)
{
	int copied = refdev_start_raw(fd, id, flags, offset, length, NULL);

	must(copied, "REFDEV_TRANSFER");
	return (uint32_t)copied;
}

int refdev_wait_raw(int fd, uint32_t id, uint32_t timeout_ms)
{
	struct refdev_wait wait = { .size = sizeof(wait), .id = id, .timeout_ms = timeout_ms };

	return refdev_call_raw(fd, REFDEV_WAIT, &wait);
}

void refdev_wait(int fd, uint32_t id)
{
	must(refdev_wait_raw(fd, id, PATIENCE_MS), "REFDEV_WAIT");
}

/* One transfer of `length` bytes, all of them, in as many parts as the map has runs. */
static uint64_t transfer_all(int fd, uint32_t id, uint32_t flags, uint64_t offset, uint32_t length)
{
	uint64_t highest = 0;
	uint32_t at = 0;

	while (at < length) {
		struct refdev_transfer transfer = {
			.flags = flags, .id = id, .offset = offset + at, .length = length - at,
			.memory = at,
		};

		must(start(fd, &transfer), "REFDEV_TRANSFER");
		refdev_wait(fd, id);
		if (!transfer.length || transfer.length > length - at)
			fail("REFDEV_TRANSFER copied %u of %u bytes", transfer.length, length - at);
		at += transfer.length;
		if (transfer.dma_address + transfer.length - 1 > highest)
			highest = transfer.dma_address + transfer.length - 1;
	}
	return highest;
}

uint64_t refdev_copy(int fd, uint32_t id, uint64_t from, uint64_t to, uint32_t length)
{
	uint64_t highest = 0;

	for (uint32_t at = 0; at < length; at += REFDEV_MEMORY) {
		uint32_t part = length - at < REFDEV_MEMORY ? length - at : REFDEV_MEMORY;
		uint64_t in = transfer_all(fd, id, 0, from + at, part);
		uint64_t out = transfer_all(fd, id, REFDEV_WRITE, to + at, part);

		highest = in > highest ? in : highest;
		highest = out > highest ? out : highest;
	}
	return highest;
}

struct refdev_counters refdev_counters(int fd)
{
	struct refdev_counters counters = { .size = sizeof(counters) };

	must(refdev_call_raw(fd, REFDEV_COUNTERS, &counters), "REFDEV_COUNTERS");
	return counters;
}

int refdev_barrier_raw(int fd, uint32_t flags, const uint32_t *ids, uint32_t count)
{
	struct refdev_barrier barrier = { .size = sizeof(barrier), .flags = flags, .count = count };
	int err;

	for (uint32_t i = 0; i < count && i < REFDEV_BARRIER_BUFFERS; i++)
		barrier.ids[i] = ids[i];
	err = refdev_call_raw(fd, REFDEV_BARRIER, &barrier);
	return err ? err : (int)barrier.backoffs;
}

uint32_t refdev_barrier(int fd, uint32_t flags, const uint32_t *ids, uint32_t count)
{
	int backoffs = refdev_barrier_raw(fd, flags, ids, count);

	must(backoffs, "REFDEV_BARRIER");
	return (uint32_t)backoffs;
}
