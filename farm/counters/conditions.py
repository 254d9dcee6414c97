"""The conditions that a case ran under: covariates of every time, no results."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    Counter(
        Metric("cpu_frequency", "Hz", Better.NEITHER, "cpufreq, scaling_cur_freq"),
        ("level:Hz:1000:/sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq",),
        "cpufreq",
    ),
    Counter(
        Metric("temperature", "Cel", Better.NEITHER, "thermal zones"),
        ("level:Cel:0.001:/sys/class/thermal/thermal_zone*/temp",),
        "a thermal zone",
    ),
    Counter(
        Metric("devfreq", "Hz", Better.NEITHER, "devfreq, cur_freq: GPU, memory, interconnect"),
        ("level:Hz:1:/sys/class/devfreq/*/cur_freq",),
        "a device with devfreq",
    ),
)
