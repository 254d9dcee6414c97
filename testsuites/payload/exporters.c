/* SPDX-License-Identifier: MIT */
/* Exporters that user space drives itself: udmabuf on a memfd, and the heaps. */
#define FARM_HELPERS
#include "calls.h"

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/memfd.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES ((size_t)sysconf(_SC_PAGESIZE))
#define HUGE_BYTES ((size_t)2 << 20)
/* Huge pages that the kernel may make when a memfd asks for them, and free with it. */
#define HUGE_LIMIT "/proc/sys/vm/nr_overcommit_hugepages"

/* --- memfd and udmabuf ----------------------------------------------------------------------------- */

static int memfd_of(unsigned int kind, size_t size, unsigned int seals)
{
	int fd = memfd_create("farm", MFD_CLOEXEC | MFD_ALLOW_SEALING | kind);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0)
		err = -errno;
	/* Pages must be there: an exporter must not meet holes, nor a test measure their filling. */
	if (!err && size && fallocate(fd, 0, 0, (off_t)size) < 0)
		err = -errno;
	if (!err && seals && fcntl(fd, F_ADD_SEALS, seals) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int memfd_raw(size_t size, unsigned int seals)
{
	return memfd_of(0, size, seals);
}

int memfd(size_t size, unsigned int seals)
{
	int fd = memfd_raw(size, seals);

	must(fd, "memfd_create");
	return fd;
}

int memfd_huge_raw(size_t size, unsigned int seals)
{
	size_t whole = (size + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	char before[32], pages[32];
	int err, fd;

	err = (int)read_file_raw(HUGE_LIMIT, before, sizeof(before));
	if (err < 0)
		return err;
	snprintf(pages, sizeof(pages), "%zu", whole / HUGE_BYTES + strtoul(before, NULL, 10));
	err = write_file_raw(HUGE_LIMIT, pages);
	if (err < 0)
		return err;
	fd = memfd_of(MFD_HUGETLB | MFD_HUGE_2MB, whole, seals);
	write_file_raw(HUGE_LIMIT, before);
	return fd;
}

int memfd_huge(size_t size, unsigned int seals)
{
	int fd = memfd_huge_raw(size, seals);

	must(fd, "memfd_create of huge pages");
	return fd;
}

static int udmabuf_device(void)
{
	int fd = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int udmabuf_from_memfd_raw(int memfd, uint64_t offset, uint64_t size)
{
	struct udmabuf_create create = {
		.memfd = (uint32_t)memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .offset = offset, .size = size,
	};
	int device = udmabuf_device(), ret;

	if (device < 0)
		return device;
	ret = command(device, UDMABUF_CREATE, &create);
	close(device);
	return ret;
}

int udmabuf_from_memfd(int memfd, uint64_t offset, uint64_t size)
{
	int fd = udmabuf_from_memfd_raw(memfd, offset, size);

	must(fd, "UDMABUF_CREATE");
	return fd;
}

void udmabuf_from_memfd_errno(int memfd, uint64_t offset, uint64_t size, int err)
{
	must_refuse(udmabuf_from_memfd_raw(memfd, offset, size), err, "UDMABUF_CREATE");
}

int udmabuf_from_list_raw(int memfd, const uint64_t *offsets, size_t count, size_t size)
{
	struct udmabuf_create_list *list = calloc(1, sizeof(*list) + count * sizeof(list->list[0]));
	int device = udmabuf_device(), ret = device;

	if (!list)
		ret = -ENOMEM;
	if (ret >= 0) {
		list->flags = UDMABUF_FLAGS_CLOEXEC;
		list->count = (uint32_t)count;
		for (size_t i = 0; i < count; i++) {
			list->list[i].memfd = (uint32_t)memfd;
			list->list[i].offset = offsets[i];
			list->list[i].size = size;
		}
		ret = command(device, UDMABUF_CREATE_LIST, list);
	}
	if (device >= 0)
		close(device);
	free(list);
	return ret;
}

int udmabuf_from_list(int memfd, const uint64_t *offsets, size_t count, size_t size)
{
	int fd = udmabuf_from_list_raw(memfd, offsets, count, size);

	must(fd, "UDMABUF_CREATE_LIST");
	return fd;
}

/* Over a whole memfd that nobody needs any more, or the error that it was made with. */
static int udmabuf_over(int memory, size_t size)
{
	int fd;

	if (memory < 0)
		return memory;
	fd = udmabuf_from_memfd_raw(memory, 0, size);
	close(memory);
	return fd;
}

int udmabuf_create_raw(size_t size)
{
	return udmabuf_over(memfd_raw(size, F_SEAL_SHRINK), size);
}

int udmabuf_create(size_t size)
{
	int fd = udmabuf_create_raw(size);

	must(fd, "UDMABUF_CREATE");
	return fd;
}

void udmabuf_create_errno(size_t size, int err)
{
	must_refuse(udmabuf_create_raw(size), err, "UDMABUF_CREATE");
}

/* A part of a memfd that is physically contiguous. */
struct run {
	uint64_t frame;		/* of its first page */
	uint64_t offset;	/* in the memfd */
};

static int by_frame_descending(const void *a, const void *b)
{
	const struct run *one = a, *other = b;

	return one->frame < other->frame ? 1 : one->frame > other->frame ? -1 : 0;
}

/* Fills in each run's frame number from /proc/self/pagemap; -EPERM where it is hidden. */
static int find_frames(int memory, size_t length, struct run *runs, size_t count, size_t run)
{
	size_t page_size = PAGE_BYTES, step = run / page_size, bytes = count * step * 8;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t *entries = malloc(bytes);
	void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory, 0);
	int err = 0;

	if (pagemap < 0 || !entries || map == MAP_FAILED)
		err = -errno;
	if (!err && pread(pagemap, entries, bytes, (off_t)((uintptr_t)map / page_size * 8)) !=
			    (ssize_t)bytes)
		err = -EIO;
	for (size_t i = 0; !err && i < count; i++) {
		runs[i].offset = i * run;
		runs[i].frame = entries[i * step] & ((1ull << 55) - 1);
		if (!runs[i].frame)
			err = -EPERM;
	}
	if (map != MAP_FAILED)
		munmap(map, length);
	free(entries);
	if (pagemap >= 0)
		close(pagemap);
	return err;
}

int udmabuf_runs_raw(size_t size, size_t run)
{
	size_t count = run ? size / run : 0;
	bool huge = run > PAGE_BYTES;
	size_t length = huge ? (size + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES : size;
	uint64_t *offsets;
	struct run *runs;
	int memory, pin, ret;

	if (!count || size % run || run % PAGE_BYTES || HUGE_BYTES % run)
		return -EINVAL;
	memory = huge ? memfd_huge_raw(size, F_SEAL_SHRINK) : memfd_raw(size, F_SEAL_SHRINK);
	if (memory < 0)
		return memory;
	/* Pinning moves pages out of CMA (memfd_pin_folios), so they are pinned before they are sorted. */
	pin = udmabuf_from_memfd_raw(memory, 0, size);
	runs = calloc(count, sizeof(*runs));
	offsets = calloc(count, sizeof(*offsets));
	ret = pin;
	if (ret >= 0)
		ret = runs && offsets ? find_frames(memory, length, runs, count, run) : -ENOMEM;
	if (!ret) {
		qsort(runs, count, sizeof(*runs), by_frame_descending);
		for (size_t i = 0; i < count; i++)
			offsets[i] = runs[i].offset;
		ret = udmabuf_from_list_raw(memory, offsets, count, run);
	}
	free(offsets);
	free(runs);
	if (pin >= 0)
		close(pin);
	close(memory);
	return ret;
}

int udmabuf_runs(size_t size, size_t run)
{
	int fd = udmabuf_runs_raw(size, run);

	must(fd, "UDMABUF_CREATE_LIST in runs");
	return fd;
}

int udmabuf_scattered_raw(size_t size)
{
	return udmabuf_runs_raw(size, PAGE_BYTES);
}

int udmabuf_scattered(size_t size)
{
	int fd = udmabuf_scattered_raw(size);

	must(fd, "UDMABUF_CREATE_LIST");
	return fd;
}

int udmabuf_huge_raw(size_t size)
{
	return udmabuf_over(memfd_huge_raw(size, F_SEAL_SHRINK), size);
}

int udmabuf_huge(size_t size)
{
	int fd = udmabuf_huge_raw(size);

	must(fd, "UDMABUF_CREATE of huge pages");
	return fd;
}

/* --- heaps ----------------------------------------------------------------------------------------- */

int heap_alloc_raw(const char *name, size_t size)
{
	struct dma_heap_allocation_data data = { .len = size, .fd_flags = O_RDWR | O_CLOEXEC };
	char path[96];
	int heap, ret;

	snprintf(path, sizeof(path), "/dev/dma_heap/%.64s", name);
	heap = open(path, O_RDONLY | O_CLOEXEC);
	if (heap < 0)
		return -errno;
	ret = command(heap, DMA_HEAP_IOCTL_ALLOC, &data);
	close(heap);
	return ret < 0 ? ret : (int)data.fd;
}

int heap_alloc(const char *name, size_t size)
{
	int fd = heap_alloc_raw(name, size);

	must(fd, "DMA_HEAP_IOCTL_ALLOC");
	return fd;
}

void heap_alloc_errno(const char *name, size_t size, int err)
{
	must_refuse(heap_alloc_raw(name, size), err, "DMA_HEAP_IOCTL_ALLOC");
}
