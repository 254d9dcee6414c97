"""perf's software events: what the scheduler and the page tables did (``perf_event_open(2)``)."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(Metric("page_faults", "count", Better.LOWER, "PERF_COUNT_SW_PAGE_FAULTS"), ("sw:2",)),
    Counter(
        Metric("context_switches", "count", Better.LOWER, "PERF_COUNT_SW_CONTEXT_SWITCHES"),
        ("sw:3",),
    ),
    Counter(
        Metric("cpu_migrations", "count", Better.LOWER, "PERF_COUNT_SW_CPU_MIGRATIONS"), ("sw:4",)
    ),
)
