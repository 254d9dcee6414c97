"""The CPU's performance monitoring unit, where the board has one that counts.

Cycles and instructions are in a group that the kernel never takes off the CPU (pinned); where the
CPU has too few counters for the others, these are absent as multiplexed.
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

_GENERIC = "perf_event_open(2), PERF_TYPE_HARDWARE"
_CACHE = "perf_event_open(2), PERF_TYPE_HW_CACHE"
_NEEDS = "a PMU in the device tree, that has the event"

COUNTERS: tuple[Counter, ...] = (
    *(
        Counter(Metric(name, "count", Better.LOWER, _GENERIC), (f"hw:{number}",), _NEEDS)
        for name, number in (
            ("pmu_cycles", 0),
            ("pmu_instructions", 1),
            ("pmu_cache_misses", 3),
            ("pmu_branch_misses", 5),
            ("pmu_stalled_frontend", 7),
            ("pmu_stalled_backend", 8),
        )
    ),
    *(
        # PERF_COUNT_HW_CACHE_OP_READ << 8 | PERF_COUNT_HW_CACHE_RESULT_MISS << 16 | the cache
        Counter(Metric(name, "count", Better.LOWER, _CACHE), (f"cache:{0x10000 | cache}",), _NEEDS)
        for name, cache in (("pmu_l1d_misses", 0), ("pmu_llc_misses", 2), ("pmu_dtlb_misses", 3))
    ),
)
