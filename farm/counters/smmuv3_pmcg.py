"""The SMMUv3's performance monitor groups, ``drivers/perf/arm_smmuv3_pmu.c`` (6.12).

Each group counts for itself (``of=smmuv3_pmcg_…``), for every stream that it serves.
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = tuple(
    Counter(
        Metric(f"smmu_{event}", "count", Better.LOWER, "drivers/perf/arm_smmuv3_pmu.c"),
        (f"pmu:smmuv3_pmcg_*:{event}",),
        "an SMMUv3 with PMCGs (QEMU's has none) and CONFIG_ARM_SMMU_V3_PMU",
    )
    for event in ("tlb_miss", "trans_table_walk_access", "config_cache_miss", "transaction")
)
