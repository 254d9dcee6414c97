"""The contiguous memory allocator, ``mm/cma.c`` (6.12).

``cma_allocated`` and ``cma_released`` count allocations, not pages. Free pages move with whatever
else borrows them (page cache, anonymous memory), so a change is no leak: that is told by
``cma_left``.
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

_FREE = "/proc/meminfo CmaFree"

COUNTERS: tuple[Counter, ...] = (
    Counter(
        Metric("cma_allocated", "count", Better.LOWER, "mm/cma.c"),
        ("tp:cma:cma_alloc_finish?errorno==0",),
        "CONFIG_CMA, kernel 6.2",
    ),
    Counter(
        Metric("cma_released", "count", Better.NEITHER, "mm/cma.c"),
        ("tp:cma:cma_release",),
        "CONFIG_CMA",
    ),
    Counter(
        Metric("cma_free_change", "B", Better.NEITHER, _FREE),
        ("change:B:1024:/proc/meminfo#CmaFree",),
        "CONFIG_CMA",
    ),
    Counter(
        Metric("cma_free", "B", Better.NEITHER, _FREE),
        ("level:B:1024:/proc/meminfo#CmaFree",),
        "CONFIG_CMA",
    ),
)
