"""KTAP version 1: a subtest per board, in it one per suite.

Format: Documentation/dev-tools/ktap.rst of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farm.model import Verdict, worst
from farm.report.text import one_line, plain
from farm.store.records import JobRecord, RunRecord, TestRecord

_INDENT = "  "
_OK = frozenset({Verdict.PASS, Verdict.SKIP, Verdict.XFAIL})
_DIRECTIVE = {
    Verdict.SKIP: "SKIP",
    Verdict.XFAIL: "XFAIL",
    Verdict.ERROR: "ERROR",
    Verdict.NEW: "ERROR NEW:",
    Verdict.INFRA: "ERROR INFRA:",
    Verdict.MISS: "ERROR MISS:",
}
_NO_REASON = {Verdict.XPASS: "passed where a failure was expected"}


@dataclass(frozen=True, slots=True)
class _Result:
    name: str
    verdict: Verdict
    reason: str
    lines: tuple[str, ...]


def render(run: RunRecord) -> str:
    """Return the run's final verdicts as KTAP."""
    results = [_board(job) for job in run.counting]
    return "\n".join(_block("", results)) + "\n"


def _board(job: JobRecord) -> _Result:
    suites: dict[str, list[TestRecord]] = {}
    for test in job.final_tests:
        suites.setdefault(test.suite, []).append(test)
    results = [
        _group(suite, [_test(test) for test in tests], "") for suite, tests in suites.items()
    ]
    return _group(f"{job.board} {job.board_type}", results, job.reason or job.problem)


def _group(name: str, results: list[_Result], reason: str) -> _Result:
    verdict = worst(result.verdict for result in results) or Verdict.MISS
    bad = sum(result.verdict not in _OK for result in results)
    told = f"{bad} of {len(results)} not ok" if bad else ""
    return _Result(name, verdict, reason or told, tuple(_block(name, results)))


def _block(name: str, results: list[_Result]) -> Iterator[str]:
    yield "KTAP version 1"
    if name:
        yield f"# Subtest: {_name(name)}"
    yield f"1..{len(results)}"
    for number, result in enumerate(results, 1):
        nested = bool(result.lines) and result.lines[0] == "KTAP version 1"
        for line in result.lines:
            yield f"{_INDENT}{line}" if nested else line
        yield _line(number, result, directive=not nested)


def _line(number: int, result: _Result, *, directive: bool) -> str:
    status = "ok" if result.verdict in _OK else "not ok"
    words = [status, str(number), _name(result.name)]
    reason = one_line(result.reason) or _NO_REASON.get(result.verdict, "")
    # A group's own line says SKIP only where all of it was skipped.
    told = _DIRECTIVE.get(result.verdict, "")
    if told and (directive or result.verdict is Verdict.SKIP):
        words.append(f"# {told} {reason}".rstrip())
    elif reason and status == "not ok":
        words.append(f"# {reason}")
    return " ".join(words)


def _test(test: TestRecord) -> _Result:
    lines = [f"# {line}" for line in plain("\n".join(test.console)).splitlines()]
    return _Result(test.nodeid, test.verdict, test.reason, tuple(lines))


def _name(name: str) -> str:
    return one_line(name).replace("#", "_")
