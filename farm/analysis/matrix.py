"""The sharing matrix of one board: which exporter's buffers which importer takes, at what cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from farm.analysis.trend import WHOLE_CASE
from farm.model import WORST_FIRST, Verdict
from farm.store.records import Cell, JobRecord, TestRecord


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One pair: how it ended, and what the import cost.

    ``outcome`` is ``shared``, ``taken`` (nothing shows what the importer sees of it), ``refused``,
    ``wrong``, or empty where the test told none (then the verdict says why). ``cost_ns`` is the
    time of one import, ``maps`` its DMA mappings; None where not measured. ``warm`` says that it is
    the median of several imports of which the pair had seen others, with nothing counted; else it
    is what the first one took while all was counted, which is several times as much.
    """

    outcome: str
    errno: str
    verdict: Verdict
    cost_ns: float | None
    maps: float | None
    warm: bool = True

    @property
    def imported(self) -> bool:
        """Whether the importer has the buffer, as far as anything shows."""
        return self.outcome in ("shared", "taken")

    @property
    def how(self) -> str:
        """What stands before the cost: that it is a cold one, or nothing."""
        return "" if self.warm else "cold "


@dataclass(frozen=True, slots=True)
class Matrix:
    """All pairs of one board; devices in the order in which they were tested."""

    exporters: tuple[str, ...]
    importers: tuple[str, ...]
    cells: Mapping[tuple[str, str], MatrixCell]


def matrix(job: JobRecord) -> Matrix | None:
    """Return the job's sharing matrix, or None where no test told a cell.

    A test without a cell is in the matrix where it is an attempt at one: the same test function as
    one that told a cell, with an exporter and an importer. One that was skipped takes nothing from
    what another test told of the pair.
    """
    tests = job.final_tests
    telling = {test.test for test in tests if test.cell}
    cells: dict[tuple[str, str], MatrixCell] = {}
    for test in tests:
        cell = test.cell
        if cell is None and test.test in telling:
            cell = Cell(test.params.get("exporter", ""), test.params.get("importer", ""), "")
        if cell is None or not (cell.exporter and cell.importer):
            continue
        pair = cell.exporter, cell.importer
        if cell.outcome or test.verdict is not Verdict.SKIP or pair not in cells:
            cells[pair] = _cell(test, cell)
    if not cells:
        return None
    return Matrix(
        exporters=tuple(dict.fromkeys(exporter for exporter, _ in cells)),
        importers=tuple(dict.fromkeys(importer for _, importer in cells)),
        cells=cells,
    )


def alike(jobs: Iterable[JobRecord]) -> tuple[tuple[tuple[JobRecord, ...], Matrix], ...]:
    """Return the jobs' matrices; boards of a type and kernel that differ in time only share one.

    Its costs are the medians over its jobs. Exact boards of a type share a run's tests, and with
    them one matrix: where several have a pair, the worst verdict's counts.
    """
    groups: dict[object, list[tuple[JobRecord, Matrix]]] = {}
    for job in jobs:
        found = matrix(job)
        if found is not None:
            told = None if job.exact else _without_cost(found)
            key = (job.board_type, job.kernel, told)
            groups.setdefault(key, []).append((job, found))
    return tuple(
        (tuple(job for job, _ in many), _merged([one for _, one in many]))
        for many in groups.values()
    )


def _without_cost(matrix: Matrix) -> object:
    return frozenset(
        (pair, cell.outcome, cell.errno, cell.verdict, cell.maps)
        for pair, cell in matrix.cells.items()
    )


def _merged(matrices: Sequence[Matrix]) -> Matrix:
    found: dict[tuple[str, str], list[MatrixCell]] = {}
    for one in matrices:
        for pair, cell in one.cells.items():
            found.setdefault(pair, []).append(cell)
    cells = {}
    for pair, several in found.items():
        known = [cell.cost_ns for cell in several if cell.cost_ns is not None]
        worst = min(several, key=lambda cell: WORST_FIRST.index(cell.verdict))
        cells[pair] = replace(worst, cost_ns=median(known) if known else None)
    return Matrix(
        exporters=tuple(dict.fromkeys(name for one in matrices for name in one.exporters)),
        importers=tuple(dict.fromkeys(name for one in matrices for name in one.importers)),
        cells=cells,
    )


def _cell(test: TestRecord, cell: Cell) -> MatrixCell:
    warm = _median(test, "import_time", lambda phase: phase == "warm")
    return MatrixCell(
        cell.outcome,
        cell.errno,
        test.verdict,
        _median(test, "wall", _is_window) if warm is None else warm,
        _median(test, "dma_map_sg", _is_window),
        warm=warm is not None,
    )


def _is_window(phase: str) -> bool:
    """Whether it is a window inside the case: the whole case brackets its set-up as well."""
    return phase != WHOLE_CASE


def _median(test: TestRecord, metric: str, wanted: Callable[[str], bool]) -> float | None:
    """Return the metric's median over replicates in the first such phase: that is the import."""
    found = (
        sample
        for sample in test.samples
        if sample.metric == metric and wanted(sample.params.get("phase", WHOLE_CASE))
    )
    first = next(found, None)
    if first is None:
        return None
    return median(sample.value for sample in test.samples if sample.series == first.series)
