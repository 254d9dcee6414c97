"""Interrupts, from /proc/interrupts.

An SMMUv3 reports a fault through its event queue and emits no tracepoint: its interrupt line is
the witness. Names of lines: ``drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c``,
``drivers/iommu/arm/arm-smmu/arm-smmu.c`` (6.12).
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(
        Metric("smmu_events", "count", Better.LOWER, "/proc/interrupts: faults"),
        ("irq:arm-smmu-v3-evtq", "irq:arm-smmu-v3-combined-irq", "irq:arm-smmu-context-fault"),
        "an Arm SMMU",
    ),
    Counter(
        Metric("smmu_errors", "count", Better.LOWER, "/proc/interrupts: the SMMU's own errors"),
        ("irq:arm-smmu-v3-gerror",),
        "an SMMUv3 with a line of its own for them",
    ),
    Counter(
        Metric("device_interrupts", "count", Better.LOWER, "/proc/interrupts"),
        ("irqs:devices",),
        "a device with interrupts and a node of DRM, V4L2, an accelerator or the reference device",
    ),
)
