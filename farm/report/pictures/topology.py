"""A board's topology: a frame an IOMMU, in it the devices that it serves, each with its part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farm.analysis.topology import Chip, Frame, Path
from farm.report.pictures.svg import Drawing, colour, draw
from farm.report.text import one_line, shorten

_COLUMNS = 4
_CHIP = (1.6, 0.58)
_GAP = 0.1
_HEAD = 0.34
_WIDTH = _COLUMNS * _CHIP[0] + 2 * _GAP


def picture(frames: Sequence[Frame], *, name: str) -> Drawing:
    """Return the frames one below the other, each with its devices in rows."""
    heights = [_HEAD + _rows(frame) * _CHIP[1] + _GAP for frame in frames]
    height = sum(heights) + _GAP * (len(frames) + 1)

    def paint(figure: Any) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(height, 0)
        top = _GAP
        for frame, tall in zip(frames, heights, strict=True):
            _frame(axes, frame, top, tall)
            for number, chip in enumerate(frame.chips):
                x = _GAP + number % _COLUMNS * _CHIP[0]
                _chip(axes, chip, x, top + _HEAD + number // _COLUMNS * _CHIP[1])
            top += tall + _GAP

    return draw(_WIDTH, height, name, summary(frames), paint)


def summary(frames: Sequence[Frame]) -> str:
    """Return in a sentence which devices each IOMMU serves, and which none does."""
    told = []
    for frame in frames:
        names = [one_line(chip.name) for chip in frame.chips if chip.tested]
        if names:
            told.append(f"{_title(frame)}: {', '.join(names)}")
    return "; ".join(told) or "no device of the tests was found"


def _rows(frame: Frame) -> int:
    return -(-len(frame.chips) // _COLUMNS)


def _title(frame: Frame) -> str:
    if frame.path is Path.IOMMU:
        return f"behind the IOMMU {one_line(frame.name)}".rstrip()
    if frame.path is Path.DIRECT:
        return "no IOMMU: DMA uses physical addresses"
    return "software: no device, memory of the kernel"


def _frame(axes: Any, frame: Frame, top: float, tall: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    translated = frame.path is Path.IOMMU
    axes.add_patch(
        FancyBboxPatch(
            (_GAP / 2, top),
            _WIDTH - _GAP,
            tall,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=colour("soft"),
            edgecolor=colour("line-0" if translated else "grid"),
            linewidth=1.8 if translated else 0.8,
            linestyle="-" if frame.path is not Path.SOFTWARE else (0, (3, 2)),
        )
    )
    axes.text(
        2 * _GAP,
        top + _HEAD / 2,
        shorten(_title(frame), 90),
        fontsize=9,
        weight="bold",
        color=colour("ink"),
        va="center",
    )


def _chip(axes: Any, chip: Chip, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    width, height = _CHIP[0] - _GAP, _CHIP[1] - _GAP
    axes.add_patch(
        FancyBboxPatch(
            (x + _GAP / 2, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=colour("card"),
            edgecolor=colour("grid"),
            linewidth=0.8,
        )
    )
    left, right = x + _GAP, x + width
    ink = colour("ink" if chip.tested else "muted")
    weight = "bold" if chip.tested else "normal"
    name = shorten(one_line(chip.name), 15)
    axes.text(left, y + 0.15, name, fontsize=8.5, weight=weight, color=ink, va="center")
    detail = " · ".join(filter(None, (one_line(chip.driver), one_line(chip.group))))
    detail = shorten(detail or "no driver", 30)
    axes.text(left, y + 0.35, detail, fontsize=6.4, color=colour("muted"), va="center")
    for part, told, shade, at in (
        (chip.exports, "out", "line-1", right - 0.22),
        (chip.imports, "in", "line-0", right),
    ):
        if part:
            axes.text(
                at, y + 0.15, told, fontsize=7, weight="bold", color=colour(shade), va="center",
                ha="right",
            )  # fmt: skip
