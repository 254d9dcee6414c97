"""How fast a waiter wakes (SYN-2): the share of wake-ups that are done, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farm.analysis.curves import Wake
from farm.report.numbers import quantity
from farm.report.pictures.svg import LINES, MARKERS, Drawing, colour, draw, dress, line_colour
from farm.report.text import one_line, shorten

MARKED = (50.0, 99.0, 100.0)
"""Shares in percent that have a mark on each line, and their time in its legend."""

_SIZE = (9.6, 3.3)
_LEFT, _RIGHT, _BELOW = 0.75, 3.1, 0.55


def picture(wakes: Sequence[Wake], *, name: str) -> Drawing:
    """Return the distributions as lines over a logarithmic axis, one an exporter and board."""
    shown = slowest(wakes)
    width, height = _SIZE

    def paint(figure: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes = figure.add_axes(
            (
                _LEFT / width,
                _BELOW / height,
                1 - (_LEFT + _RIGHT) / width,
                1 - (_BELOW + 0.15) / height,
            )
        )
        dress(axes)
        axes.set_xscale("log")
        for number, one in enumerate(shown):
            axes.plot(
                [ns for _, ns in one.points],
                [share for share, _ in one.points],
                color=line_colour(number),
                linewidth=1.8,
                label=_label(one),
            )
            axes.plot(
                [one.within(share) for share in MARKED],
                MARKED,
                color=line_colour(number),
                linestyle="none",
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                clip_on=False,
            )
        axes.set_ylim(0, 100)
        axes.set_yticks([0, 25, 50, 75, 99], ["0 %", "25 %", "50 %", "75 %", "99 %"])
        low = min(one.points[0][1] for one in shown)
        high = max(one.points[-1][1] for one in shown)
        axes.set_xlim(low / 1.2, high * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: quantity(x, "ns")))
        axes.set_xlabel("from the signal to the waiter's return")
        axes.set_ylabel("waiters that are awake")
        axes.legend(
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            fontsize=8,
            frameon=False,
            labelcolor=colour("ink"),
            title="median / 99 % / worst",
            title_fontproperties={"size": 8},
            alignment="left",
            handlelength=1.6,
        ).get_title().set_color(colour("muted"))

    return draw(width, height, name, summary(wakes), paint)


def slowest(wakes: Sequence[Wake]) -> list[Wake]:
    """Return what is drawn: all, or of more than can be told apart those with the longest tails."""
    if len(wakes) <= LINES:
        return list(wakes)
    return sorted(wakes, key=lambda one: -one.within(99))[:LINES]


def summary(wakes: Sequence[Wake]) -> str:
    """Return in a sentence how fast waiters wake on each board."""
    shown = slowest(wakes)
    told = [
        f"{one_line(one.job.board)}: half of them within {quantity(one.within(50), 'ns')}, "
        f"99 % within {quantity(one.within(99), 'ns')}, "
        f"the worst after {quantity(one.within(100), 'ns')}"
        for one in shown
    ]
    if len(wakes) > len(shown):
        told.append(f"{len(wakes) - len(shown)} faster ones are in the cases")
    return "; ".join(told)


def _label(one: Wake) -> str:
    name = shorten(f"{one_line(one.job.board)} · {one_line(one.exporter)}", 36)
    return f"{name}\n{' / '.join(quantity(one.within(share), 'ns') for share in MARKED)}"
