"""Which metrics of a run are worth a plot of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.analysis.trend import EXACT_UNITS, WHOLE_CASE, Trend
from farm.store.records import JobRecord, TestRecord

Measured = tuple[JobRecord, TestRecord, tuple[Trend, ...]]
"""A test with its job and its metrics."""


@dataclass(frozen=True, slots=True)
class Line:
    """One board and set of case parameters in a plot."""

    board: str
    params: Mapping[str, str]
    trend: Trend


@dataclass(frozen=True, slots=True)
class Headline:
    """One metric of one test: a plot with a line per board and set of parameters."""

    suite: str
    test: str
    metric: str
    params: Mapping[str, str]
    lines: tuple[Line, ...]


def headlines(measured: Iterable[Measured]) -> tuple[Headline, ...]:
    """Return the times that windows inside a case took, the most telling first.

    A metric that a case measures by itself (a latency) comes before the wall time of its windows,
    every test's first before any test's second; pairs of the sharing matrix are left to the matrix.
    """
    groups: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], list[Line]] = {}
    for job, test, found in measured:
        if test.cell is not None:
            continue
        for trend in found:
            phase = trend.params.get("phase", "")
            if trend.unit in EXACT_UNITS or phase in ("", WHOLE_CASE):
                continue
            key = (test.suite, test.test, trend.metric, tuple(sorted(trend.params.items())))
            groups.setdefault(key, []).append(Line(job.board, test.params, trend))
    plots = [
        Headline(suite, test, metric, dict(params), tuple(lines))
        for (suite, test, metric, params), lines in groups.items()
    ]
    seen: Counter[tuple[str, bool]] = Counter()
    ranked = []
    for plot in plots:
        by_itself = plot.metric != "wall"
        ranked.append((not by_itself, seen[plot.test, by_itself], plot))
        seen[plot.test, by_itself] += 1
    return tuple(plot for *_, plot in sorted(ranked, key=lambda row: row[:2]))


def moved(measured: Iterable[Measured]) -> tuple[tuple[Line, TestRecord], ...]:
    """Return the counts that had one value in every earlier run and have another now."""
    return tuple(
        (Line(job.board, test.params, trend), test)
        for job, test, found in measured
        for trend in found
        if trend.broke_constant and trend.params.get("phase", WHOLE_CASE) != WHOLE_CASE
    )
