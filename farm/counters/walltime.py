"""Wall time of a case or a window, which the payload takes without being asked."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(Metric("wall", "ns", Better.LOWER, "clock_gettime(CLOCK_MONOTONIC)")),
)
