"""Frames per second over the depth of the queues (COD-4), and what a frame costs the CPUs."""

from __future__ import annotations

from collections.abc import Sequence

from farm.analysis.curves import FrameRate
from farm.report.numbers import quantity
from farm.report.pictures.panels import MAX_PANELS, Across, Band, draw_panels
from farm.report.pictures.svg import Drawing
from farm.report.text import one_line


def picture(rates: Sequence[FrameRate], *, name: str) -> Drawing:
    """Return plots over the number of buffers in each queue, a line for each size of picture."""
    steps = (1.0, 2.0, 5.0)
    rate = Band("frames per second", lambda v: f"{v:g}", [one.rate for one in rates], steps)
    cost = Band(
        "CPU time of a frame", lambda v: quantity(v, "ns"), [one.cost for one in rates], steps
    )
    across = Across("buffers in each queue", lambda value: f"{value:g}", base=2)
    return draw_panels(name, summary(rates), [rate, cost], across, lambda key: f"{key:g}p")


def summary(rates: Sequence[FrameRate]) -> str:
    """Return in a sentence how fast each codec is with its smallest and its largest pictures."""
    told = []
    for one in rates[:MAX_PANELS]:
        lines = one.rate.lines
        ends = dict.fromkeys((lines[0], lines[-1]))
        words = [
            f"{max(point.y for point in line.points):.3g} frames per second at {line.key:g}p"
            for line in ends
        ]
        told.append(
            f"{one_line(one.rate.job.board)}, {one_line(one.rate.about)}: {', '.join(words)}"
        )
    if len(rates) > MAX_PANELS:
        told.append(f"{len(rates) - MAX_PANELS} more are in the cases")
    return "; ".join(told)
