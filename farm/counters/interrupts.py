"""Interrupt lines of /proc/interrupts that tell of trouble.

An SMMUv3 reports a fault through its event queue and emits no tracepoint: its interrupt line is
the witness.
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(
        Metric("smmu_events", "count", Better.LOWER, "/proc/interrupts arm-smmu-v3-evtq"),
        ("irq:arm-smmu-v3-evtq",),
    ),
)
