"""How fast a waiter wakes (SYN-2): median, 99th percentile and worst, a row an exporter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farm.analysis.curves import Wake
from farm.report.numbers import quantity
from farm.report.pictures.svg import Drawing, colour, draw, dress, line_colour
from farm.report.text import one_line, shorten

MAX_ROWS = 24
"""Rows that are drawn; with more, each board's slowest exporter stands for the board."""


def picture(wakes: Sequence[Wake], *, name: str) -> Drawing:
    """Return a row for each exporter, boards in colours of their own, on a logarithmic axis."""
    shown = rows(wakes)
    boards = list(dict.fromkeys(one.job.job for one in shown))

    def paint(figure: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes = figure.add_axes(_box(len(shown)))
        dress(axes)
        axes.grid(visible=False, axis="y")
        axes.set_xscale("log")
        for row, one in enumerate(shown):
            shade = line_colour(boards.index(one.job.job))
            axes.hlines(row, one.p50, one.most, color=shade, linewidth=1.4, alpha=0.55)
            axes.hlines(row, one.p50, one.p99, color=shade, linewidth=4.5)
            axes.plot(one.p50, row, "o", color=shade, markersize=6.5)
            axes.plot(one.most, row, "|", color=shade, markersize=9, markeredgewidth=1.8)
            axes.annotate(
                f"{quantity(one.p50, 'ns')} / {quantity(one.p99, 'ns')} / "
                f"{quantity(one.most, 'ns')}",
                (one.most, row),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=colour("muted"),
            )
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [_label(one) for one in shown])
        axes.tick_params(axis="y", colors=colour("ink"), labelsize=8.5, length=0)
        low, high = min(one.p50 for one in shown), max(one.most for one in shown)
        axes.set_xlim(low / 1.6, high * (high / low) ** 0.3 * 2.5)
        axes.xaxis.set_major_locator(
            LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0))
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: quantity(x, "ns")))
        axes.set_xlabel("from the signal to the waiter's return: ● median, ▬ to p99, | worst")

    return draw(_WIDTH, _height(len(shown)), name, summary(wakes), paint)


def rows(wakes: Sequence[Wake]) -> list[Wake]:
    """Return what is drawn: all, or where that is too much each board's slowest, worst first."""
    if len(wakes) <= MAX_ROWS:
        return list(wakes)
    slowest: dict[str, Wake] = {}
    for one in wakes:
        if one.job.job not in slowest or one.p99 > slowest[one.job.job].p99:
            slowest[one.job.job] = one
    return sorted(slowest.values(), key=lambda one: -one.p99)[:MAX_ROWS]


def summary(wakes: Sequence[Wake]) -> str:
    """Return in a sentence how fast waiters wake on each board."""
    boards: dict[str, list[Wake]] = {}
    for one in wakes:
        boards.setdefault(one_line(one.job.board), []).append(one)
    told = [
        f"{board}: half of them within {quantity(max(one.p50 for one in many), 'ns')}, "
        f"99 % within {quantity(max(one.p99 for one in many), 'ns')}, "
        f"the worst after {quantity(max(one.most for one in many), 'ns')}"
        for board, many in list(boards.items())[:MAX_ROWS]
    ]
    return "; ".join(told)


_WIDTH = 9.6
_LEFT = 2.5


def _height(count: int) -> float:
    return 0.62 + 0.27 * count


def _box(count: int) -> tuple[float, float, float, float]:
    height = _height(count)
    return (_LEFT / _WIDTH, 0.52 / height, 1 - _LEFT / _WIDTH - 0.01, 1 - 0.58 / height)


def _label(one: Wake) -> str:
    return shorten(f"{one_line(one.job.board)} · {one_line(one.exporter)}", 36)
