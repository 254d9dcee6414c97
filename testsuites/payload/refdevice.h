/* SPDX-License-Identifier: MIT */
/* The reference device: attachments of ../refdev/refdev.h's importer, transfers, counters. */
#ifndef FARM_REFDEVICE_H
#define FARM_REFDEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "../refdev/refdev.h"

/* Opens "refdev" or "refdev:N": /dev/refdev0, /dev/refdevN. -ENOENT: none is bound. */
int refdev_open_raw(const char *address);
int refdev_open(const char *address);

#define REFDEV_DRIVER "/sys/bus/pci/drivers/refdev"

/* The PCI function behind an open node, as sysfs calls it: "0000:00:04.0". */
void refdev_function(int fd, char name[64]);

/* Any ioctl of refdev.h. 0 or -errno. */
int refdev_call_raw(int fd, unsigned long request, void *argument);

struct refdev_info refdev_info(int fd);

/* flags: REFDEV_CACHED, REFDEV_READ_ONLY. The attachment's id (> 0). */
int refdev_attach_raw(int fd, int dmabuf, uint32_t flags);
uint32_t refdev_attach(int fd, int dmabuf, uint32_t flags);
int refdev_detach_raw(int fd, uint32_t id);
void refdev_detach(int fd, uint32_t id);

/* Starts a transfer; flags: REFDEV_WRITE. Returns the bytes that are copied, at most `length`. */
int refdev_start_raw(int fd, uint32_t id, uint32_t flags, uint64_t offset, uint32_t length,
		     uint64_t *dma_address);
uint32_t refdev_start(int fd, uint32_t id, uint32_t flags, uint64_t offset, uint32_t length);
/* Waits for it, and lets go of a mapping that lasts for a transfer. */
int refdev_wait_raw(int fd, uint32_t id, uint32_t timeout_ms);
void refdev_wait(int fd, uint32_t id);

/*
 * Copies `length` bytes of the buffer from `from` to `to` by way of the device's memory, as many
 * transfers as that takes; the highest DMA address that the device was told.
 */
uint64_t refdev_copy(int fd, uint32_t id, uint64_t from, uint64_t to, uint32_t length);

struct refdev_counters refdev_counters(int fd);

/* A fence for all these attachments, locked in this order. flags: REFDEV_LINGER. The backoffs. */
int refdev_barrier_raw(int fd, uint32_t flags, const uint32_t *ids, uint32_t count);
uint32_t refdev_barrier(int fd, uint32_t flags, const uint32_t *ids, uint32_t count);

#ifndef FARM_HELPERS
#define refdev_open(...) FARM_AT(refdev_open(__VA_ARGS__))
#define refdev_function(...) FARM_AT(refdev_function(__VA_ARGS__))
#define refdev_info(...) FARM_AT(refdev_info(__VA_ARGS__))
#define refdev_attach(...) FARM_AT(refdev_attach(__VA_ARGS__))
#define refdev_detach(...) FARM_AT(refdev_detach(__VA_ARGS__))
#define refdev_start(...) FARM_AT(refdev_start(__VA_ARGS__))
#define refdev_wait(...) FARM_AT(refdev_wait(__VA_ARGS__))
#define refdev_copy(...) FARM_AT(refdev_copy(__VA_ARGS__))
#define refdev_counters(...) FARM_AT(refdev_counters(__VA_ARGS__))
#define refdev_barrier(...) FARM_AT(refdev_barrier(__VA_ARGS__))
#endif

#endif
