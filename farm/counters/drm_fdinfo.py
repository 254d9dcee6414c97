"""What DRM drivers tell of a case's open files when it closes them (``fdinfo``).

Documentation/gpu/drm-usage-stats.rst (6.12). One sample for each file and engine, or memory
region (``of``).
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

_FDINFO = "/proc/self/fdinfo"
_NEEDS = "a driver with show_fdinfo that tells it (panfrost, panthor, v3d, msm …)"

COUNTERS: tuple[Counter, ...] = tuple(
    Counter(Metric(name, unit, Better.LOWER, f"{_FDINFO}: {key}"), needs=_NEEDS)
    for name, unit, key in (
        ("drm_engine_time", "ns", "drm-engine-*"),
        ("drm_cycles", "count", "drm-cycles-*"),
        ("drm_memory_total", "B", "drm-total-*"),
        ("drm_memory_resident", "B", "drm-resident-*"),
    )
)
