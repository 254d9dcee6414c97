/* SPDX-License-Identifier: MIT */
/* dma-bufs: udmabuf and heap exporters, and what a dma-buf file itself can do. */
#ifndef FARM_DMABUF_H
#define FARM_DMABUF_H

#include <linux/dma-buf.h>
#include <stddef.h>
#include <stdint.h>

/* A memfd of `size` bytes with every page present, sealed with `seals` (F_SEAL_…). */
int memfd_raw(size_t size, unsigned int seals);
int memfd(size_t size, unsigned int seals);
/*
 * The same of 2 MiB pages, its size rounded up to these. The kernel makes the pages for it, and
 * frees them with it. -ENOMEM: there are not so many; -ENOENT: a kernel without CONFIG_HUGETLBFS.
 */
int memfd_huge_raw(size_t size, unsigned int seals);
int memfd_huge(size_t size, unsigned int seals);

/* udmabuf over a whole memfd (the caller's), from an offset. */
int udmabuf_from_memfd_raw(int memfd, uint64_t offset, uint64_t size);
int udmabuf_from_memfd(int memfd, uint64_t offset, uint64_t size);
void udmabuf_from_memfd_errno(int memfd, uint64_t offset, uint64_t size, int err);

/* udmabuf of `count` parts of a memfd, each of `size` bytes, in the order of their offsets. */
int udmabuf_from_list_raw(int memfd, const uint64_t *offsets, size_t count, size_t size);
int udmabuf_from_list(int memfd, const uint64_t *offsets, size_t count, size_t size);

/* udmabuf over a memfd of its own, its pages as the allocator gave them. Returns the dma-buf. */
int udmabuf_create_raw(size_t size);
int udmabuf_create(size_t size);
void udmabuf_create_errno(size_t size, int err);

/*
 * udmabuf in which no two neighbouring pages are physically contiguous: UDMABUF_CREATE_LIST with one
 * entry a page, in descending order of page frame (/proc/self/pagemap, needs root). At most
 * /sys/module/udmabuf/parameters/list_limit (1024) pages.
 */
int udmabuf_scattered_raw(size_t size);
int udmabuf_scattered(size_t size);

/*
 * The same in physically contiguous runs of exactly `run` bytes (a page, or a larger part of 2 MiB),
 * no two of which are neighbours: an IOMMU needs size / run mappings. Runs of more than a page come
 * from memfd_huge().
 */
int udmabuf_runs_raw(size_t size, size_t run);
int udmabuf_runs(size_t size, size_t run);

/* udmabuf over a memfd of huge pages, in its order: contiguous where it is of up to 2 MiB. */
int udmabuf_huge_raw(size_t size);
int udmabuf_huge(size_t size);

/* Buffer from /dev/dma_heap/<name>. */
int heap_alloc_raw(const char *name, size_t size);
int heap_alloc(const char *name, size_t size);
void heap_alloc_errno(const char *name, size_t size, int err);

/* DMA_BUF_IOCTL_SYNC; flags DMA_BUF_SYNC_START|END and READ|WRITE|RW. */
int dmabuf_sync_raw(int fd, uint64_t flags);
void dmabuf_sync(int fd, uint64_t flags);
void dmabuf_sync_errno(int fd, uint64_t flags, int err);

/* lseek on a dma-buf: the resulting position. */
int64_t dmabuf_seek_raw(int fd, int64_t offset, int whence);
int64_t dmabuf_seek(int fd, int64_t offset, int whence);
void dmabuf_seek_errno(int fd, int64_t offset, int whence, int err);
size_t dmabuf_size(int fd);		/* by SEEK_END, back to 0 */

/* mmap, shared; prot PROT_READ|PROT_WRITE. On failure *map is NULL. */
int dmabuf_map_raw(int fd, size_t size, int prot, void **map);
void *dmabuf_map(int fd, size_t size, int prot);
void dmabuf_unmap(void *map, size_t size);

/* A pattern in which every 32-bit word is different from its neighbours and from other seeds'. */
void pattern_fill(void *memory, size_t size, uint32_t seed);
int64_t pattern_mismatch(const void *memory, size_t size, uint32_t seed); /* byte offset or -1 */
void pattern_verify(const void *memory, size_t size, uint32_t seed);

/* The same through the dma-buf's own mmap, bracketed with SYNC. */
void dmabuf_fill(int fd, size_t size, uint32_t seed);
void dmabuf_verify(int fd, size_t size, uint32_t seed);

/* poll on a dma-buf or sync_file: revents, 0 on time-out, -errno. */
int poll_raw(int fd, short events, int timeout_ms);
void poll_ready(int fd, short events, int timeout_ms);	/* all of events within the time */
void poll_blocked(int fd, short events);		/* none of events now */

/* Fences: flags DMA_BUF_SYNC_READ, WRITE or RW. Export returns a sync_file. */
int sync_file_export_raw(int fd, uint32_t flags);
int sync_file_export(int fd, uint32_t flags);
void sync_file_export_errno(int fd, uint32_t flags, int err);
int sync_file_import_raw(int fd, uint32_t flags, int sync_file);
void sync_file_import(int fd, uint32_t flags, int sync_file);
void sync_file_import_errno(int fd, uint32_t flags, int sync_file, int err);
/* SYNC_IOC_FILE_INFO: 1 signalled, 0 pending, a fence's own -errno; INT_MIN if the ioctl failed. */
int sync_file_status(int sync_file);
unsigned int sync_file_fences(int sync_file);	/* how many, signalled or not */
void sync_file_is(int sync_file, int status, const char *what);	/* fails unless it has this */

/* Whether two descriptors are one open file (kcmp KCMP_FILE). */
bool same_file(int fd, int other);
uint64_t file_inode(int fd);

/* debugfs dma_buf/bufinfo, as it stands now, for all of the board. */
struct bufinfo {
	unsigned long objects;
	unsigned long long bytes;
	unsigned long attachments;
};
int bufinfo_raw(struct bufinfo *info);
struct bufinfo bufinfo(void);	/* only for boards that declare the feature debugfs */

#ifndef FARM_HELPERS
#define memfd(...) FARM_AT(memfd(__VA_ARGS__))
#define memfd_huge(...) FARM_AT(memfd_huge(__VA_ARGS__))
#define udmabuf_from_memfd(...) FARM_AT(udmabuf_from_memfd(__VA_ARGS__))
#define udmabuf_from_memfd_errno(...) FARM_AT(udmabuf_from_memfd_errno(__VA_ARGS__))
#define udmabuf_from_list(...) FARM_AT(udmabuf_from_list(__VA_ARGS__))
#define udmabuf_create(...) FARM_AT(udmabuf_create(__VA_ARGS__))
#define udmabuf_create_errno(...) FARM_AT(udmabuf_create_errno(__VA_ARGS__))
#define udmabuf_scattered(...) FARM_AT(udmabuf_scattered(__VA_ARGS__))
#define udmabuf_runs(...) FARM_AT(udmabuf_runs(__VA_ARGS__))
#define udmabuf_huge(...) FARM_AT(udmabuf_huge(__VA_ARGS__))
#define heap_alloc(...) FARM_AT(heap_alloc(__VA_ARGS__))
#define heap_alloc_errno(...) FARM_AT(heap_alloc_errno(__VA_ARGS__))
#define dmabuf_sync(...) FARM_AT(dmabuf_sync(__VA_ARGS__))
#define dmabuf_sync_errno(...) FARM_AT(dmabuf_sync_errno(__VA_ARGS__))
#define dmabuf_seek(...) FARM_AT(dmabuf_seek(__VA_ARGS__))
#define dmabuf_seek_errno(...) FARM_AT(dmabuf_seek_errno(__VA_ARGS__))
#define dmabuf_size(...) FARM_AT(dmabuf_size(__VA_ARGS__))
#define dmabuf_map(...) FARM_AT(dmabuf_map(__VA_ARGS__))
#define pattern_verify(...) FARM_AT(pattern_verify(__VA_ARGS__))
#define dmabuf_fill(...) FARM_AT(dmabuf_fill(__VA_ARGS__))
#define dmabuf_verify(...) FARM_AT(dmabuf_verify(__VA_ARGS__))
#define poll_ready(...) FARM_AT(poll_ready(__VA_ARGS__))
#define poll_blocked(...) FARM_AT(poll_blocked(__VA_ARGS__))
#define sync_file_export(...) FARM_AT(sync_file_export(__VA_ARGS__))
#define sync_file_export_errno(...) FARM_AT(sync_file_export_errno(__VA_ARGS__))
#define sync_file_import(...) FARM_AT(sync_file_import(__VA_ARGS__))
#define sync_file_import_errno(...) FARM_AT(sync_file_import_errno(__VA_ARGS__))
#define sync_file_fences(...) FARM_AT(sync_file_fences(__VA_ARGS__))
#define sync_file_is(...) FARM_AT(sync_file_is(__VA_ARGS__))
#define same_file(...) FARM_AT(same_file(__VA_ARGS__))
#define file_inode(...) FARM_AT(file_inode(__VA_ARGS__))
#endif

#endif
