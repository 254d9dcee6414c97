"""The sharing matrix: a row an exporter, a column an importer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from farm.analysis.matrix import Matrix, MatrixCell
from farm.model import Verdict
from farm.report.numbers import quantity
from farm.report.pictures.svg import SHADES, Drawing, colour, draw
from farm.report.text import one_line, shorten

_CELL = (1.16, 0.56)
_LABEL = 18
_COST = 18  # letters of a cost that go into a cell; longer ones are smaller


def picture(matrix: Matrix, scale: Scale, *, name: str) -> Drawing:
    """Return the matrix as an SVG element; ``name`` keeps its ids apart from other pictures'.

    Cells of pairs that share are shaded by what a warm import cost, on a logarithmic scale, and
    stay pale where only a cold one was timed; a refusal shows its errno; what failed its test has a
    frame.
    """
    columns, rows = len(matrix.importers), len(matrix.exporters)
    left, top, below = 1.5, 0.62, 0.1

    def paint(figure: Any) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-left / _CELL[0], columns)
        axes.set_ylim(rows + below / _CELL[1], -top / _CELL[1])
        _labels(axes, matrix)
        for row, exporter in enumerate(matrix.exporters):
            for column, importer in enumerate(matrix.importers):
                cell = matrix.cells.get((exporter, importer))
                if cell is not None:
                    _draw(axes, column, row, cell, scale)

    size = (left + columns * _CELL[0], top + rows * _CELL[1] + below)
    return draw(*size, name, summary(matrix), paint)


def summary(matrix: Matrix) -> str:
    """Return the matrix in a sentence: how many pairs share, refuse (and how), or went wrong."""
    cells = matrix.cells.values()
    parts = [f"{sum(cell.imported for cell in cells)} of {len(cells)} pairs share"]
    if taken := sum(cell.outcome == "taken" for cell in cells):
        parts.append(f"of {taken} of them nothing shows what the importer sees")
    errnos = Counter(
        one_line(cell.errno) or "no errno" for cell in cells if cell.outcome == "refused"
    )
    if errnos:
        told = ", ".join(f"{number} {errno}" for errno, number in errnos.most_common(6))
        parts.append(f"{errnos.total()} refused ({told})")
    for outcome, words in (("wrong", "with wrong content"), ("", "told nothing")):
        if number := sum(cell.outcome == outcome for cell in cells):
            parts.append(f"{number} {words}")
    costs = _warm_costs([matrix])
    if costs:
        parts.append(
            f"a warm import takes {quantity(min(costs), 'ns')} to {quantity(max(costs), 'ns')}"
        )
    return "; ".join(parts)


def _warm_costs(matrices: Iterable[Matrix]) -> list[float]:
    return [
        cell.cost_ns
        for matrix in matrices
        for cell in matrix.cells.values()
        if cell.imported and cell.warm and cell.cost_ns and cell.cost_ns > 0
    ]


@dataclass(frozen=True, slots=True)
class Scale:
    """Costs on a logarithmic scale in :data:`SHADES` steps.

    It spans at least a decade, so that noise is pale, and ends at twenty times the median, so that
    a few very dear cells do not make all others look alike.
    """

    low: float
    high: float

    @classmethod
    def of(cls, matrices: Iterable[Matrix]) -> Scale:
        """Return the scale that holds every warm cost of these matrices."""
        costs = _warm_costs(matrices)
        if not costs:
            return cls(1.0, 10.0)
        low = min(costs)
        return cls(low, max(low * 10, min(max(costs), median(costs) * 20)))

    def shade(self, cost: float | None) -> int:
        """Return the step of a cost, 0 for the cheapest or an unknown one."""
        if not cost or cost <= self.low:
            return 0
        place = math.log(cost / self.low) / math.log(self.high / self.low)
        return min(SHADES - 1, int(place * SHADES))


def _labels(axes: Any, matrix: Matrix) -> None:
    text = axes.text
    for column, importer in enumerate(matrix.importers):
        text(
            column + 0.5,
            -0.14,
            _label(importer),
            ha="center",
            va="bottom",
            fontsize=9,
            color=colour("ink"),
        )
    for row, exporter in enumerate(matrix.exporters):
        text(
            -0.08,
            row + 0.5,
            _label(exporter),
            ha="right",
            va="center",
            fontsize=9,
            color=colour("ink"),
        )
    muted = {"fontsize": 8, "color": colour("muted")}
    text(-0.08, -0.14, "exporter ↓", ha="right", va="bottom", **muted)
    text(0.02, -0.68, "importer →", ha="left", va="center", **muted)


def _draw(axes: Any, column: int, row: int, cell: MatrixCell, scale: Scale) -> None:
    from matplotlib.patches import FancyBboxPatch

    word, cost = _words(cell)
    shade = scale.shade(cell.cost_ns if cell.warm else None)
    face = {
        "shared": f"cost-{shade}",
        "taken": f"cost-{shade}",
        "refused": "refused",
        "wrong": "wrong",
    }.get(cell.outcome, "untold")
    cost_ink = f"cost-ink-{shade}"
    ink = {"shared": cost_ink, "taken": cost_ink, "wrong": "card"}.get(cell.outcome, "ink")
    bad = cell.verdict.is_failure or cell.verdict.is_gap
    edge = "fail" if cell.verdict.is_failure else "muted" if bad else "card"
    axes.add_patch(
        FancyBboxPatch(
            (column + 0.03, row + 0.06),
            0.94,
            0.88,
            boxstyle="round,pad=0,rounding_size=0.07",
            mutation_aspect=_CELL[0] / _CELL[1],
            facecolor=colour(face),
            edgecolor=colour(edge),
            linewidth=2.2 if bad else 0.5,
        )
    )
    text = axes.text
    middle = {"ha": "center", "va": "center", "color": colour(ink)}
    text(column + 0.5, row + (0.36 if cost else 0.5), word, fontsize=9, weight="bold", **middle)
    if cost:
        size = 7.5 * min(1, _COST / len(cost))
        text(column + 0.5, row + 0.68, cost, fontsize=size, **middle)


def _words(cell: MatrixCell) -> tuple[str, str]:
    if cell.imported:
        parts = [] if cell.cost_ns is None else [cell.how + quantity(cell.cost_ns, "ns")]
        if cell.maps is not None:
            parts.append("1 map" if cell.maps == 1 else f"{quantity(cell.maps, '')} maps")
        return cell.outcome, " · ".join(parts)
    if cell.outcome == "refused":
        return _label(cell.errno or "refused"), "refused" if cell.errno else ""
    if cell.outcome == "wrong":
        return "wrong", "known gap" if cell.verdict is Verdict.XFAIL else "content differs"
    return cell.verdict.value, ""


def _label(text: str) -> str:
    return shorten(one_line(text), _LABEL)
