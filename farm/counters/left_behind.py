"""What a case must not leave behind: more after it than before is a leak, and fails it.

What is freed late (RCU, work items, the last reference of a file) has two seconds to go.
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(
        Metric("dma_buf_left", "count", Better.LOWER, "debugfs dma_buf/bufinfo"),
        ("bufinfo:objects",),
        "root, debugfs",
    ),
    Counter(
        Metric("dma_buf_bytes_left", "B", Better.LOWER, "debugfs dma_buf/bufinfo"),
        ("bufinfo:bytes",),
        "root, debugfs",
    ),
    Counter(
        Metric("dma_fence_left", "count", Better.LOWER, "dma_fence_init less dma_fence_destroy"),
        ("balance:dma_fence_init-dma_fence_destroy",),
        "both counters",
    ),
    Counter(
        Metric("cma_left", "count", Better.LOWER, "cma_allocated less cma_released"),
        ("balance:cma_allocated-cma_released",),
        "both counters",
    ),
)
