"""Small plots side by side, one for each board: lines over one parameter, on one scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from farm.analysis.curves import Panel
from farm.report.pictures.svg import MARKERS, Drawing, colour, draw, dress, line_colour
from farm.report.text import one_line, shorten

MAX_PANELS = 8
"""Boards that are drawn in each band; the cases tell of the others."""

_COLUMNS = 4
_SIZE = (2.75, 1.9)
_FEW = (4.2, 2.1)
_LEFT = 0.85

Told = Callable[[float], str]
"""How a value is written."""


@dataclass(frozen=True, slots=True)
class Band:
    """What is plotted, on a logarithmic axis: its name, and how its values are written.

    ``steps`` are the labels of a decade; ``absent`` says why a board may have no values.
    """

    label: str
    told: Told
    panels: Sequence[Panel]
    steps: Sequence[float] = (1.0,)
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Across:
    """The parameter that lines are over: its name, how it is written, and the steps of its axis."""

    label: str
    told: Told
    base: int


def draw_panels(
    name: str, label: str, bands: Sequence[Band], across: Across, line: Told
) -> Drawing:
    """Return a plot for each board and band: a board's bands one below the other.

    ``line`` tells what a line stands for; the bands have their boards in the same order.
    """
    filled = [band for band in bands if any(panel.lines for panel in band.panels)]
    boards = min(MAX_PANELS, len(filled[0].panels))
    keys = sorted({one.key for band in filled for panel in band.panels for one in panel.lines})
    columns = min(_COLUMNS, boards)
    rows = -(-boards // columns) * len(filled)
    wide, tall = _FEW if columns <= 2 else _SIZE
    width, height = _LEFT + columns * wide, 0.6 + rows * tall

    def paint(figure: Any) -> None:
        figure.subplots_adjust(
            left=_LEFT / width,
            right=1 - 0.15 / width,
            bottom=0.5 / height,
            top=1 - 0.72 / height,
            wspace=0.28,
            hspace=0.55,
        )
        grid = figure.subplots(rows, columns, squeeze=False)
        for row in range(rows):
            band = filled[row % len(filled)]
            first = row // len(filled) * columns
            panels = band.panels[first : min(first + columns, boards)]
            for axes, panel in zip(grid[row], panels, strict=False):
                _panel(axes, panel, keys, band, across)
                if row % len(filled) == 0:
                    _title(axes, panel)
                if band is filled[-1]:
                    axes.set_xlabel(across.label)
            for axes in grid[row][len(panels) :]:
                axes.set_visible(False)
            _same_scale([axes for axes in grid[row] if axes.lines], band)
        _legend(figure, [line(key) for key in keys])

    return draw(width, height, name, label, paint)


def _panel(axes: Any, panel: Panel, keys: Sequence[float], band: Band, across: Across) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    dress(axes)
    if not panel.lines:
        axes.set_axis_off()
        _note(axes, 0.5, 0.5, band.absent or "not measured", ha="center")
        return
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=across.base, numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: across.told(value)))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=band.steps, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: band.told(value)))
    for one in panel.lines:
        number = keys.index(one.key)
        shade = line_colour(number)
        axes.plot(
            [point.x for point in one.points],
            [point.y for point in one.points],
            color=shade,
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=1.6,
            clip_on=False,
        )
        spread = [point for point in one.points if point.high > point.low]
        if spread:
            low, high = [point.low for point in spread], [point.high for point in spread]
            axes.vlines([point.x for point in spread], low, high, color=shade, linewidth=1)


def _title(axes: Any, panel: Panel) -> None:
    board = shorten(f"{one_line(panel.job.board)} · {one_line(panel.about)}", 34)
    axes.set_title(board, fontsize=9, color=colour("ink"), loc="left", pad=14, weight="bold")
    _note(axes, 0, 1.03, shorten(one_line(panel.job.kernel), 34))


def _note(axes: Any, x: float, y: float, text: str, **how: str) -> None:
    shade = colour("muted")
    axes.text(x, y, text, transform=axes.transAxes, fontsize=7.5, color=shade, **how)


def _same_scale(row: Sequence[Any], band: Band) -> None:
    """Give panels side by side one scale, so that heights can be compared."""
    limits = [axes.get_ylim() for axes in row]
    for axes in row:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    for axes in row[:1]:
        axes.set_ylabel(band.label)


def _legend(figure: Any, lines: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=line_colour(n), marker=MARKERS[n % len(MARKERS)], markersize=4)
        for n in range(len(lines))
    ]
    figure.legend(
        handles,
        lines,
        loc="upper right",
        ncols=min(len(lines), 6),
        fontsize=8.5,
        frameon=False,
        labelcolor=colour("ink"),
        handlelength=1.8,
        borderaxespad=0.1,
    )
