/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The reference device: an importer of dma-bufs with a DMA engine, its user interface.
 *
 * The device has 4 KiB of memory of its own and one engine, which copies between that memory and
 * an attached buffer, one transfer at a time. /dev/refdev0 is the first device.
 *
 * Every structure begins with its size, as in sizeof(), and with flags. A size, a flag or a padding
 * that is not defined here is refused with EINVAL before anything happens; what is marked "out" is
 * only written. Once the device is gone everything but REFDEV_COUNTERS is ENODEV.
 */
#ifndef REFDEV_H
#define REFDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define REFDEV_VERSION 1

/* Bytes of the device's memory that a transfer may reach: QEMU ends when one reaches the last. */
#define REFDEV_MEMORY 4095
/* Buffers that one open file may have attached. */
#define REFDEV_BUFFERS 64

/*
 * REFDEV_INFO: what the device is.
 * dma_bits: its DMA mask. buffers: REFDEV_BUFFERS. memory: REFDEV_MEMORY.
 */
struct refdev_info {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 version;		/* out: REFDEV_VERSION */
	__u32 dma_bits;		/* out */
	__u32 memory;		/* out */
	__u32 buffers;		/* out */
};

/*
 * REFDEV_ATTACH: attach the dma-buf `fd`. Errors: EBADF, EINVAL (no dma-buf), ENOSPC (too many),
 * and whatever the exporter answers to attach and, where cached, to map.
 *
 * Mapped once, until it is detached, with REFDEV_CACHED; else for each transfer, from its start
 * until REFDEV_WAIT, the next transfer or REFDEV_DETACH, whichever is first. Mapped for both
 * directions, or with REFDEV_READ_ONLY for the device to read; then a write is refused with EACCES.
 */
#define REFDEV_CACHED	 (1u << 0)
#define REFDEV_READ_ONLY (1u << 1)

struct refdev_attach {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 id;		/* out: names the attachment in this open file, not 0 */
};

/* REFDEV_DETACH: wait for its transfer, then unmap and detach. Errors: ENOENT (no such id). */
struct refdev_detach {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 id;
	__u32 pad;		/* 0 */
};

/*
 * REFDEV_TRANSFER: copy from the buffer into the device's memory, or with REFDEV_WRITE from there
 * into the buffer. It waits for the engine and for the fences of others, starts the copy, and
 * returns. From then until the copy is done the buffer's reservation object has a fence, of usage
 * READ or WRITE.
 *
 * As with read(2), less than `length` may be copied: what is contiguous for the device from
 * `offset` on. Errors: ENOENT, EACCES, EINTR, EINVAL (outside the buffer or the device's memory, or
 * length 0), EIO (the engine is broken, or the map is not within reach), and what the exporter
 * answers to map.
 */
#define REFDEV_WRITE	(1u << 0)

struct refdev_transfer {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 length;		/* in: at most; out: bytes that are copied */
	__u64 offset;		/* in the buffer */
	__u32 memory;		/* offset in the device's memory */
	__u32 pad;		/* 0 */
	__u64 dma_address;	/* out: what the device was told */
};

/*
 * REFDEV_WAIT: wait until an attachment's transfer is done, and end its mapping where that lasts
 * for a transfer. Errors: ENOENT, EINTR, ETIMEDOUT (not within timeout_ms), and the transfer's own:
 * ETIMEDOUT with `done` 1 (the device never finished).
 */
struct refdev_wait {
	__u32 size;
	__u32 flags;		/* 0 */
	__u32 id;
	__u32 timeout_ms;
	__u32 done;		/* out: 1 unless time ran out */
	__u32 pad;		/* 0 */
};

/*
 * REFDEV_COUNTERS: what the device did since its driver was bound, for all open files together.
 * attaches - detaches are attached now, maps - unmaps mapped, fences_init - fences_signalled
 * pending.
 * faults: transfers after which the device's PCI status tells of an abort or a parity error.
 * timeouts: transfers that were given up after 2 s.
 */
struct refdev_counters {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 attaches;		/* all out */
	__u64 detaches;
	__u64 maps;
	__u64 unmaps;
	__u64 transfers;
	__u64 interrupts;
	__u64 fences_init;
	__u64 fences_signalled;
	__u64 faults;
	__u64 timeouts;
};

/*
 * REFDEV_BARRIER: one fence for all of `count` attachments, as a job that uses them together has. Their
 * reservation locks are taken in the order of `ids`, by a ticket: who finds a lock held by an older
 * ticket lets go of all its locks, waits for that one and begins again, and `backoffs` counts that.
 * Each buffer gets the fence of usage WRITE, the locks are let go of, and the fence signals. With
 * REFDEV_LINGER it pauses between two locks, so that others come in between.
 *
 * Errors: ENOENT, EINVAL (no attachment, or more than REFDEV_BARRIER_BUFFERS), EALREADY (two of them
 * are of one buffer), EINTR.
 */
#define REFDEV_LINGER	(1u << 0)
#define REFDEV_BARRIER_BUFFERS 8

struct refdev_barrier {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 backoffs;		/* out */
	__u32 ids[REFDEV_BARRIER_BUFFERS];
};

#define REFDEV_INFO	_IOWR(0xed, 0, struct refdev_info)
#define REFDEV_ATTACH	_IOWR(0xed, 1, struct refdev_attach)
#define REFDEV_DETACH	_IOW(0xed, 2, struct refdev_detach)
#define REFDEV_TRANSFER	_IOWR(0xed, 3, struct refdev_transfer)
#define REFDEV_WAIT	_IOWR(0xed, 4, struct refdev_wait)
#define REFDEV_COUNTERS	_IOWR(0xed, 5, struct refdev_counters)
#define REFDEV_BARRIER	_IOWR(0xed, 6, struct refdev_barrier)

#endif
