"""Markdown: verdicts by board, sharing matrices, and every reason that is not a pass.

It is what a job summary of GitLab or GitHub, a mail or a page of documentation takes: GitHub
Flavored Markdown, with a row for many tests that came out alike. The numbers are in the report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from farm.analysis.matrix import Matrix, MatrixCell, alike
from farm.analysis.verdicts import total
from farm.model import WORST_FIRST, Verdict, tally
from farm.report.numbers import quantity
from farm.report.text import one_line, shorten
from farm.store.records import JobRecord, RunRecord, TestRecord

MOST_ROWS = 100
"""Rows of a table of reasons; what is left out is counted."""

_REASON = 400
_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$]|\b_|_\b|(?<!\w)_)")
_Tested = tuple[JobRecord, TestRecord]


def render(run: RunRecord) -> str:
    """Return the run's boards, matrices and reasons as Markdown."""
    tested = [(job, test) for job in run.counting for test in job.final_tests]
    lines = [f"## Run {_text(run.id)}", "", *_boards(run.counting)]
    for jobs, matrix in alike(run.counting):
        lines += ["", *_matrix(jobs, matrix)]
    lines += _reasons("Neither passed nor skipped", tested, _telling)
    lines += _reasons("Skipped", tested, lambda verdict: verdict is Verdict.SKIP)
    return "\n".join(lines) + "\n"


def _boards(jobs: Sequence[JobRecord]) -> Iterator[str]:
    counts = [tally(test.verdict for test in job.final_tests) for job in jobs]
    shown = tuple(total(counts))
    yield from _head("board", "type", "image", "kernel", *(verdict.value for verdict in shown))
    for job, verdicts in zip(jobs, counts, strict=True):
        yield _row(
            job.board,
            job.board_type,
            job.image.profile,
            job.kernel or "never came up",
            *(str(verdicts.get(verdict, 0)) for verdict in shown),
        )


def _matrix(jobs: Sequence[JobRecord], matrix: Matrix) -> Iterator[str]:
    boards = ", ".join(_text(job.board) for job in jobs)
    yield f"### Who shares with whom: {boards}, Linux {_text(jobs[0].kernel)}"
    yield ""
    yield (
        "A row an exporter, a column an importer: DMA mappings that an import makes, and the "
        "median time of one (cold: of the first, and counted); or the errno that refuses it. "
        "Of what is only taken nothing shows what the importer sees."
    )
    yield ""
    yield from _head("", *matrix.importers)
    for exporter in matrix.exporters:
        cells = (matrix.cells.get((exporter, importer)) for importer in matrix.importers)
        yield _row(exporter, *(_cell(cell) for cell in cells))


def _cell(cell: MatrixCell | None) -> str:
    if cell is None:
        return ""
    if cell.imported:
        cost = (
            "" if cell.maps is None else quantity(cell.maps, "count"),
            "" if cell.cost_ns is None else cell.how + quantity(cell.cost_ns, "ns"),
        )
        taken = "taken" if cell.outcome == "taken" else ""
        told = " · ".join(filter(None, (*cost, taken))) or "shared"
    else:
        told = cell.errno or cell.outcome or cell.verdict.value
    return told if cell.verdict is Verdict.PASS else f"{told} ({cell.verdict.value})"


def _telling(verdict: Verdict) -> bool:
    return verdict not in (Verdict.PASS, Verdict.SKIP)


def _reasons(
    title: str, tested: Iterable[_Tested], wanted: Callable[[Verdict], bool]
) -> Iterator[str]:
    """Yield a table of reasons, the worst verdicts first, then those of most tests."""
    groups: dict[tuple[Verdict, str], list[_Tested]] = {}
    for job, test in tested:
        if wanted(test.verdict):
            groups.setdefault((test.verdict, one_line(test.reason)), []).append((job, test))
    if not groups:
        return
    rows = sorted(groups.items(), key=lambda row: (WORST_FIRST.index(row[0][0]), -len(row[1])))
    yield from ("", f"### {title}", "")
    yield from _head("verdict", "boards", "tests", "reason")
    for (verdict, reason), many in rows[:MOST_ROWS]:
        boards = dict.fromkeys(job.board for job, _ in many)
        tests = Counter(f"{test.suite}/{test.test}" for _, test in many)
        yield _row(
            verdict.value,
            ", ".join(boards),
            ", ".join(
                name if number == 1 else f"{name}: {number}" for name, number in tests.items()
            ),
            shorten(reason, _REASON),
        )
    if len(rows) > MOST_ROWS:
        yield f"\n{len(rows) - MOST_ROWS} more rows are left out."


def _head(*names: str) -> tuple[str, str]:
    return _row(*names), f"|{' --- |' * len(names)}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _text(text: str) -> str:
    """Return text from a board on one line, with nothing in it that Markdown or HTML obeys."""
    return _SPECIAL.sub(r"\\\1", one_line(text))
