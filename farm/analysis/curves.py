"""What a run measured over a parameter: map cost over size, frames over depth; wake latency.

Parameters come from journals, so from anybody: what is no positive number is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from farm.store.records import JobRecord, RunRecord, TestRecord


@dataclass(frozen=True, slots=True)
class Point:
    """The median of what was measured at ``x``, and the range of its replicates."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """Points in the order of ``x``, all with one value of the parameter that tells lines apart."""

    key: float
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One board's lines; ``about`` says what else they have in common."""

    job: JobRecord
    about: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class MapCost:
    """What importing into one device of one board cost, over a buffer's size in bytes.

    A line is for one length of physical runs, in bytes. ``time`` is ns of one map, ``entries`` are
    the IOMMU's entries of one map, without lines where no IOMMU translates.
    """

    time: Panel
    entries: Panel


@dataclass(frozen=True, slots=True)
class FrameRate:
    """How fast one codec of one board is over the number of buffers in each of its queues.

    A line is for one height of the pictures, in lines. ``rate`` is in frames per second, ``cost``
    is the CPUs' time for a frame, in ns.
    """

    rate: Panel
    cost: Panel


@dataclass(frozen=True, slots=True)
class Wake:
    """How long a waiter took to wake, for one exporter's buffer on one board, as a distribution.

    ``points`` are shares of the wake-ups in percent, up to 100, each with the ns within which they
    were done; both grow.
    """

    job: JobRecord
    exporter: str
    points: tuple[tuple[float, float], ...]

    def within(self, share: float) -> float:
        """Return the ns within which so many percent of the wake-ups were done."""
        return next(ns for told, ns in self.points if told >= share)


_QUANTILE = re.compile(r"p([0-9]{1,3}(?:\.[0-9]{1,3})?)")

Samples = dict[tuple[str, str], list[float]]
"""A test's values by metric and phase: more than one where there are replicates."""


def map_costs(run: RunRecord) -> tuple[MapCost, ...]:
    """Return what the tests of ``map_cost`` measured (MAP-10), by board and importer."""
    found = []
    for job in run.jobs:
        importers = _by_param(job, "map_cost", "importer")
        for importer, tests in importers.items():
            time = _lines(tests, _of("map_time", "p50"))
            entries = _lines(tests, _of("iommu_map", "map"))
            if time:
                found.append(MapCost(Panel(job, importer, time), Panel(job, importer, entries)))
    return tuple(found)


def frame_rates(run: RunRecord) -> tuple[FrameRate, ...]:
    """Return what the tests of ``codec_rate`` measured (COD-4), by board and codec."""
    found = []
    for job in run.jobs:
        for codec, tests in _by_param(job, "codec_rate", "codec").items():
            rate, cost = (
                _lines(tests, _of(metric, "steady"), x="depth", key="size")
                for metric in ("frame_rate", "frame_cpu_time")
            )
            if rate:
                found.append(FrameRate(Panel(job, codec, rate), Panel(job, codec, cost)))
    return tuple(found)


def wakes(run: RunRecord) -> tuple[Wake, ...]:
    """Return what the tests of ``sync_wakes`` measured (SYN-2), by board and exporter.

    Those that sampled no distribution are left out.
    """
    found = []
    for job in run.jobs:
        for exporter, tests in _by_param(job, "sync_wakes", "exporter").items():
            points = tuple(_distribution(_samples(tests[-1]), "wake_quantile"))
            if points and points[-1][0] == 100:
                found.append(Wake(job, exporter, points))
    return tuple(found)


def _distribution(samples: Samples, metric: str) -> Iterator[tuple[float, float]]:
    """Yield the quantiles of a metric, from phases ``p0`` to ``p100``, each not below the last."""
    quantiles = {
        float(match[1]): median(values)
        for (name, phase), values in samples.items()
        if name == metric and (match := _QUANTILE.fullmatch(phase))
    }
    most = 0.0
    for share in sorted(quantiles):
        most = max(most, quantiles[share])
        if share <= 100 and most > 0:
            yield share, most


def _by_param(job: JobRecord, case: str, name: str) -> dict[str, list[TestRecord]]:
    found: dict[str, list[TestRecord]] = {}
    for test in job.final_tests:
        if test.case == case and test.samples:
            found.setdefault(test.params.get(name, ""), []).append(test)
    return found


def _lines(
    tests: Iterable[TestRecord],
    values: Callable[[Samples], list[float]],
    *,
    x: str = "size",
    key: str = "run",
) -> tuple[Line, ...]:
    """Return a line for each value of ``key``, over ``x``: names of the tests' parameters."""
    lines: dict[float, dict[float, Point]] = {}
    for test in tests:
        at, of = _number(test.params, x), _number(test.params, key)
        measured = [value for value in values(_samples(test)) if value > 0]
        if at is not None and of is not None and measured:
            point = Point(at, median(measured), min(measured), max(measured))
            lines.setdefault(of, {})[at] = point
    return tuple(
        Line(of, tuple(points[at] for at in sorted(points))) for of, points in sorted(lines.items())
    )


def _of(metric: str, phase: str) -> Callable[[Samples], list[float]]:
    return lambda samples: samples.get((metric, phase), [])


def _samples(test: TestRecord) -> Samples:
    found: Samples = {}
    for sample in test.samples:
        found.setdefault((sample.metric, sample.params.get("phase", "")), []).append(sample.value)
    return found


def _number(params: Mapping[str, str], name: str) -> float | None:
    text = params.get(name, "").removesuffix("p")  # a picture's height: 720p
    return float(text) if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 62 else None
