/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

CASE(sync_flags, "DMA_BUF_IOCTL_SYNC refuses flags that name no access or are unknown",
     .params = "exporter= size=65536")
{
	static const uint64_t nonsense[] = {
		0,				/* START of no access */
		DMA_BUF_SYNC_END,		/* END of no access */
		1u << 3,			/* unknown, alone */
		DMA_BUF_SYNC_RW | 1u << 3,	/* unknown beside a right access */
		DMA_BUF_SYNC_RW | 1u << 31,
		DMA_BUF_SYNC_READ | 1ull << 32,	/* a mask of 32 bits would let these pass */
		DMA_BUF_SYNC_RW | 1ull << 63,
		~0ull,
	};
	static const uint64_t right[] = { DMA_BUF_SYNC_READ, DMA_BUF_SYNC_WRITE, DMA_BUF_SYNC_RW };
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		int err = dmabuf_sync_raw(buffer.fd, nonsense[i]);

		check(err == -EINVAL, "flags 0x%llx: %s, expected EINVAL",
		      (unsigned long long)nonsense[i], errname(err));
	}
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | right[i]);
		dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | right[i]);
	}
	buffer_close(&buffer);
}

CASE(sync_end_first, "END before any START ends with the given errno, and START then works",
     .params = "exporter=udmabuf errno=EINVAL size=65536")
{
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int expected = param_errno("errno");
	int err = dmabuf_sync_raw(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);

	check(err == -expected, "END before START: %s, expected %s", errname(err),
	      errname(expected));
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW);
	dmabuf_sync(buffer.fd, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW);
	buffer_close(&buffer);
}
