/* SPDX-License-Identifier: MIT */
/* What the file of a dma-buf can do, and the sync files that come of it. */
#define FARM_HELPERS
#include "calls.h"

#include <limits.h>
#include <linux/kcmp.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- CPU access ------------------------------------------------------------------------------------ */

int dmabuf_sync_raw(int fd, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return command(fd, DMA_BUF_IOCTL_SYNC, &sync);
}

#define SYNC_NAME_MAX 64

static const char *sync_name(char name[SYNC_NAME_MAX], uint64_t flags)
{
	snprintf(name, SYNC_NAME_MAX, "DMA_BUF_IOCTL_SYNC(%s, flags %#llx)",
		 flags & DMA_BUF_SYNC_END ? "END" : "START", (unsigned long long)flags);
	return name;
}

/* Nothing but the call where it succeeds: cases time it. */
void dmabuf_sync(int fd, uint64_t flags)
{
	int ret = dmabuf_sync_raw(fd, flags);
	char name[SYNC_NAME_MAX];

	if (ret)
		must(ret, sync_name(name, flags));
}

void dmabuf_sync_errno(int fd, uint64_t flags, int err)
{
	int ret = dmabuf_sync_raw(fd, flags);
	char name[SYNC_NAME_MAX];

	must_refuse(ret, err, sync_name(name, flags));
}

int64_t dmabuf_seek_raw(int fd, int64_t offset, int whence)
{
	off_t position = lseek(fd, offset, whence);

	return position < 0 ? -errno : position;
}

int64_t dmabuf_seek(int fd, int64_t offset, int whence)
{
	int64_t position = dmabuf_seek_raw(fd, offset, whence);

	must(position < 0 ? (int)position : 0, "lseek on the dma-buf");
	return position;
}

void dmabuf_seek_errno(int fd, int64_t offset, int whence, int err)
{
	int64_t position = dmabuf_seek_raw(fd, offset, whence);

	must_refuse(position < 0 ? (int)position : 0, err, "lseek on the dma-buf");
}

size_t dmabuf_size(int fd)
{
	size_t size = (size_t)dmabuf_seek(fd, 0, SEEK_END);

	dmabuf_seek(fd, 0, SEEK_SET);
	return size;
}

int dmabuf_map_raw(int fd, size_t size, int prot, void **map)
{
	*map = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
	if (*map != MAP_FAILED)
		return 0;
	*map = NULL;
	return -errno;
}

void *dmabuf_map(int fd, size_t size, int prot)
{
	void *map;

	must(dmabuf_map_raw(fd, size, prot, &map), "mmap of the dma-buf");
	return map;
}

void dmabuf_unmap(void *map, size_t size)
{
	munmap(map, size);
}

/* --- patterns -------------------------------------------------------------------------------------- */

/* A bijection of the word's index for each seed, so that no two words of a buffer are the same. */
static uint32_t pattern_word(uint32_t seed, uint32_t index)
{
	uint32_t word = index * 0x9e3779b1u ^ (seed * 0x85ebca77u + 0x27d4eb2fu);

	word ^= word >> 15;
	return word * 0x2c1b3c6du;
}

void pattern_fill(void *memory, size_t size, uint32_t seed)
{
	volatile uint32_t *words = memory;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = pattern_word(seed, (uint32_t)i);
}

int64_t pattern_mismatch(const void *memory, size_t size, uint32_t seed)
{
	const volatile uint32_t *words = memory;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		if (words[i] != pattern_word(seed, (uint32_t)i))
			return (int64_t)(i * sizeof(*words));
	return -1;
}

void pattern_verify(const void *memory, size_t size, uint32_t seed)
{
	const uint32_t *words = memory;
	int64_t offset = pattern_mismatch(memory, size, seed);

	if (offset >= 0)
		fail("content differs at byte %lld of %zu: expected %#x, got %#x", (long long)offset,
		     size, pattern_word(seed, (uint32_t)(offset / 4)), words[offset / 4]);
}

void dmabuf_fill(int fd, size_t size, uint32_t seed)
{
	void *map = dmabuf_map(fd, size, PROT_READ | PROT_WRITE);

	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE);
	pattern_fill(map, size, seed);
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE);
	munmap(map, size);
}

void dmabuf_verify(int fd, size_t size, uint32_t seed)
{
	void *map = dmabuf_map(fd, size, PROT_READ);

	dmabuf_sync(fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
	pattern_verify(map, size, seed);
	dmabuf_sync(fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
	munmap(map, size);
}

/* --- fences ---------------------------------------------------------------------------------------- */

int poll_raw(int fd, short events, int timeout_ms)
{
	struct pollfd poller = { .fd = fd, .events = events };
	int ret;

	do {
		ret = poll(&poller, 1, timeout_ms);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret ? poller.revents : 0;
}

void poll_ready(int fd, short events, int timeout_ms)
{
	uint64_t deadline = now_ns() + (uint64_t)timeout_ms * 1000000;
	short missing = events;

	/* poll returns with any of the events; all are wanted. */
	while (missing) {
		uint64_t now = now_ns();
		int left = now < deadline ? (int)((deadline - now) / 1000000) : 0;
		int seen = poll_raw(fd, missing, left);

		must(seen, "poll");
		if (seen & ~missing)
			fail("poll: expected events %#x, got %#x", events, seen);
		if (!seen)
			fail("poll: events %#x did not come within %d ms", missing, timeout_ms);
		missing &= (short)~seen;
	}
}

void poll_blocked(int fd, short events)
{
	int seen = poll_raw(fd, events, 0);

	must(seen, "poll");
	if (seen)
		fail("poll: expected none of %#x to be ready, got %#x", events, seen);
}

int sync_file_export_raw(int fd, uint32_t flags)
{
	struct dma_buf_export_sync_file data = { .flags = flags, .fd = -1 };
	int ret = command(fd, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &data);

	return ret < 0 ? ret : data.fd;
}

int sync_file_export(int fd, uint32_t flags)
{
	int sync_file = sync_file_export_raw(fd, flags);

	must(sync_file, "DMA_BUF_IOCTL_EXPORT_SYNC_FILE");
	return sync_file;
}

void sync_file_export_errno(int fd, uint32_t flags, int err)
{
	must_refuse(sync_file_export_raw(fd, flags), err, "DMA_BUF_IOCTL_EXPORT_SYNC_FILE");
}

int sync_file_import_raw(int fd, uint32_t flags, int sync_file)
{
	struct dma_buf_import_sync_file data = { .flags = flags, .fd = sync_file };

	return command(fd, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &data);
}

void sync_file_import(int fd, uint32_t flags, int sync_file)
{
	must(sync_file_import_raw(fd, flags, sync_file), "DMA_BUF_IOCTL_IMPORT_SYNC_FILE");
}

void sync_file_import_errno(int fd, uint32_t flags, int sync_file, int err)
{
	must_refuse(sync_file_import_raw(fd, flags, sync_file), err,
		    "DMA_BUF_IOCTL_IMPORT_SYNC_FILE");
}

int sync_file_status(int sync_file)
{
	struct sync_file_info data = { 0 };

	return command(sync_file, SYNC_IOC_FILE_INFO, &data) < 0 ? INT_MIN : data.status;
}

unsigned int sync_file_fences(int sync_file)
{
	struct sync_file_info data = { 0 };

	must(command(sync_file, SYNC_IOC_FILE_INFO, &data), "SYNC_IOC_FILE_INFO");
	return data.num_fences;
}

void sync_file_is(int sync_file, int status, const char *what)
{
	int seen = sync_file_status(sync_file);

	if (seen != status)
		fail("%s: status %d, expected %d (%s)", what, seen, status,
		     status > 0 ? "signalled" : status ? errname(status) : "pending");
}

/* --- identity and accounting ----------------------------------------------------------------------- */

bool same_file(int fd, int other)
{
	long order = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fd, other);

	if (order < 0)
		broken("kcmp(KCMP_FILE): %s", errname(errno));
	return order == 0;
}

uint64_t file_inode(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		broken("fstat: %s", errname(errno));
	return status.st_ino;
}

int bufinfo_raw(struct bufinfo *info)
{
	FILE *file = fopen("/sys/kernel/debug/dma_buf/bufinfo", "re");
	bool whole = false;
	char line[512];

	*info = (struct bufinfo){ 0 };
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		unsigned long devices;
		int end = 0;

		/* %n is reached only if the words before it are there too. */
		if (sscanf(line, "Total %lu devices attached%n", &devices, &end) == 1 && end)
			info->attachments += devices;
		else if (sscanf(line, "Total %lu objects, %llu bytes", &info->objects, &info->bytes) == 2)
			whole = true;
	}
	fclose(file);
	return whole ? 0 : -EBADMSG;
}

struct bufinfo bufinfo(void)
{
	struct bufinfo info;
	int err = bufinfo_raw(&info);

	must(err, "/sys/kernel/debug/dma_buf/bufinfo");
	return info;
}
