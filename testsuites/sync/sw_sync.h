/* SPDX-License-Identifier: MIT */
/* sw_sync timelines: debugfs sync/sw_sync, which reference kernels have. */
#ifndef FARM_SW_SYNC_H
#define FARM_SW_SYNC_H

#include "farm.h"

#include <fcntl.h>
#include <linux/sync_file.h>
#include <sys/ioctl.h>

/* drivers/dma-buf/sw_sync.c has these for itself: no header is exported. */
struct sw_sync_create_fence_data {
	uint32_t value;
	char name[32];
	int32_t fence;
};
#define SW_SYNC_IOC_CREATE_FENCE _IOWR('W', 0, struct sw_sync_create_fence_data)
#define SW_SYNC_IOC_INC _IOW('W', 1, uint32_t)

static inline int timeline_open(void)
{
	int fd = open("/sys/kernel/debug/sync/sw_sync", O_RDWR | O_CLOEXEC);

	check(fd >= 0, "/sys/kernel/debug/sync/sw_sync: %s", errname(errno));
	return fd;
}

/* A sync_file that is signalled when the timeline has come to `value`. */
static inline int fence_at(int timeline, uint32_t value)
{
	struct sw_sync_create_fence_data data = { .value = value, .name = "farm" };

	check(ioctl(timeline, SW_SYNC_IOC_CREATE_FENCE, &data) == 0, "a fence at %u: %s", value,
	      errname(errno));
	return data.fence;
}

static inline void advance(int timeline, uint32_t steps)
{
	check(ioctl(timeline, SW_SYNC_IOC_INC, &steps) == 0, "SW_SYNC_IOC_INC %u: %s", steps,
	      errname(errno));
}

/* SYNC_IOC_MERGE: a sync_file that waits for both, or -errno. */
static inline int merge_raw(int one, int other, uint32_t flags)
{
	struct sync_merge_data data = { .name = "merged", .fd2 = other, .flags = flags };

	return ioctl(one, SYNC_IOC_MERGE, &data) < 0 ? -errno : data.fence;
}

#endif
