"""Bounce buffers: copies of what a device cannot reach, ``kernel/dma/swiotlb.c`` (6.12)."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(
        Metric("swiotlb_bounced", "count", Better.LOWER, "kernel/dma/swiotlb.c"),
        ("tp:swiotlb:swiotlb_bounced",),
        "CONFIG_SWIOTLB",
    ),
    Counter(
        Metric(
            "swiotlb_used", "count", Better.LOWER, "debugfs swiotlb/io_tlb_used, in 2 KiB slots"
        ),
        ("level:count:1:/sys/kernel/debug/swiotlb/io_tlb_used",),
        "CONFIG_SWIOTLB and debugfs",
    ),
)
