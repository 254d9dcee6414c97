"""The CPU's performance monitoring unit, where the board has one that counts."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(Metric("pmu_cycles", "count", Better.LOWER, "PERF_COUNT_HW_CPU_CYCLES"), ("hw:0",)),
    Counter(
        Metric("pmu_instructions", "count", Better.LOWER, "PERF_COUNT_HW_INSTRUCTIONS"), ("hw:1",)
    ),
    Counter(
        Metric("pmu_cache_misses", "count", Better.LOWER, "PERF_COUNT_HW_CACHE_MISSES"), ("hw:3",)
    ),
)
