"""A metric's value in one run against its earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from farm.analysis.ranks import spread
from farm.store.records import Point, SampleRecord, TestRecord

History = Mapping[tuple[str, str], tuple[Point, ...]]
"""Points by (series key, test name), as :func:`farm.store.history` returns them."""

WHOLE_CASE = "case"
"""The phase whose samples bracket a whole case, its set-up included."""

EXACT_UNITS = frozenset({"count", "B", "1", ""})
"""Units of metrics that count."""

RESTLESS = (
    *("context_switches", "cpu_migrations", "page_faults", "pmu_"),  # the scheduler's
    *("cma_free", "swiotlb_used", "drm_memory_"),  # levels: what else the board keeps there, too
    *("vb2_", "v4l2_", "device_interrupts", "drm_cycles"),  # as many as there was time for
)
"""Starts of counters that vary by themselves: with the scheduler, with time, with other users."""

CONSTANT_RUNS = 3
"""Earlier runs that must agree before a count is called constant; on an exact board one will do."""


@dataclass(frozen=True, slots=True)
class Trend:
    """One metric of one test in one run, and what it was before.

    ``value`` is the median of the run's replicates. ``earlier`` holds earlier runs' points, oldest
    first; it is empty on the series' first run. ``noiseless`` says that an exact board measured it.
    """

    metric: str
    unit: str
    params: Mapping[str, str]
    value: float
    replicates: tuple[float, ...]
    earlier: tuple[Point, ...]
    noiseless: bool = False

    @property
    def spread(self) -> float:
        """The median distance of the replicates from their median."""
        return spread(self.replicates)

    @property
    def usual(self) -> float | None:
        """The median of the earlier values, or None where there are none."""
        return median(point.value for point in self.earlier) if self.earlier else None

    @property
    def change(self) -> float | None:
        """The relative change against the usual value; None without one, or where it is zero."""
        usual = self.usual
        return None if not usual else (self.value - usual) / abs(usual)

    @property
    def steady(self) -> bool:
        """Whether every earlier value equals this run's."""
        return all(point.value == self.value for point in self.earlier)

    @property
    def exact(self) -> bool:
        """Whether it should not vary: a count of what the kernel was asked to do, or noiseless."""
        return self.noiseless or (self.unit in EXACT_UNITS and not self.metric.startswith(RESTLESS))

    @property
    def broke_constant(self) -> bool:
        """Whether an exact number that never varied in the runs before does so now."""
        needed = 1 if self.noiseless else CONSTANT_RUNS
        values = {point.value for point in self.earlier}
        return (
            self.exact
            and len(self.earlier) >= needed
            and len(values) == 1
            and self.value not in values
        )

    @property
    def quiet(self) -> bool:
        """Whether it is zero and always was."""
        return self.value == 0 and self.steady


def trends(
    test: TestRecord, history: History, run: str, *, noiseless: bool = False
) -> tuple[Trend, ...]:
    """Return a test's metrics in the order of their first sample, each with its earlier values.

    ``noiseless`` says that the board does the same in every boot.
    """
    by_series: dict[str, list[SampleRecord]] = {}
    for sample in test.samples:
        by_series.setdefault(sample.series, []).append(sample)
    return tuple(
        _trend(samples, history.get((series, test.test), ()), run, noiseless)
        for series, samples in by_series.items()
    )


def _trend(
    samples: list[SampleRecord], points: Iterable[Point], run: str, noiseless: bool
) -> Trend:
    values = tuple(sample.value for sample in samples)
    return Trend(
        metric=samples[0].metric,
        unit=samples[0].unit,
        params=samples[0].params,
        value=median(values),
        replicates=values,
        earlier=tuple(point for point in points if point.run != run),
        noiseless=noiseless,
    )
