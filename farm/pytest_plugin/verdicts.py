"""From what pytest saw to the farm's verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from farm.board.boot import BootFailed
from farm.board.complaints import sentence
from farm.board.console import ConsoleEvent
from farm.board.result import BoardHung, CaseComplaint
from farm.errors import (
    FarmError,
    InfraError,
    KernelComplaint,
    LinkLost,
    NoExpectation,
    ProtocolError,
    TestBroken,
)
from farm.model import Verdict
from farm.pytest_plugin.record import Phase

MAX_REASON = 500
"""Characters of a reason."""

_TROUBLE = frozenset({Verdict.FAIL, Verdict.ERROR, Verdict.INFRA})
_FAILURES = (AssertionError, pytest.fail.Exception)


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with its reason; ``again`` says that the same test deserves another attempt.

    ``observed`` is what a NEW one saw, fit to be accepted as an expectation.
    """

    verdict: Verdict
    reason: str = ""
    again: bool = False
    hung: bool = False
    console: tuple[str, ...] = ()
    observed: Mapping[str, str] = field(default_factory=dict)


def judge(phases: Sequence[Phase], *, hung_before: bool) -> Ruling:
    """Return what one attempt comes to; ``hung_before`` says that the attempt before it hung."""
    passed = Ruling(Verdict.MISS, "no phase of the test ran")
    for phase in phases:
        ruling = _judge_phase(phase, hung_before)
        if ruling.verdict is not Verdict.PASS:
            return ruling
        passed = ruling
    return passed


def overrules_xfail(phase: Phase) -> bool:
    """Return whether an error counts although the test is marked ``xfail``.

    A broken board or test is not what was expected to fail, a kernel's complaint is expected only
    where the case tolerates it, and what nothing is expected of is not expected to fail either.
    """
    error = phase.error
    if not hasattr(phase.report, "wasxfail") or error is None:
        return False
    return isinstance(error, KernelComplaint | InfraError | TestBroken | NoExpectation)


def overruled_by(ruling: Ruling, complaints: Sequence[ConsoleEvent]) -> ConsoleEvent | None:
    """Return the complaint that decides instead of what the test's phases come to, if one does.

    ``complaints`` are those of the attempt that nothing excuses. A test that failed keeps its own
    reason, unless the kernel died.
    """
    first = next((event for event in complaints if event.fatal), next(iter(complaints), None))
    if first is None or ruling.verdict is not Verdict.FAIL:
        return first
    return first if first.fatal and sentence(first) not in ruling.reason else None


def blame_kernel(
    ruling: Ruling, phases: Sequence[Phase], event: ConsoleEvent, excerpt: Sequence[str]
) -> Ruling:
    """Return the ruling that a complaint makes of another, and tell pytest of it."""
    own = f"; besides: {ruling.reason}" if ruling.verdict in _TROUBLE else ""
    reason = _short(sentence(event) + own)
    report = next((one.report for one in phases if one.report.when == "call"), phases[-1].report)
    if hasattr(report, "wasxfail"):
        del report.wasxfail
    if not report.failed:
        report.outcome = "failed"
        report.longrepr = "\n".join([reason, *excerpt])
    return Ruling(Verdict.FAIL, reason, console=tuple(excerpt))


def _judge_phase(phase: Phase, hung_before: bool) -> Ruling:
    error, report = phase.error, phase.report
    if error is None:
        if report.failed or hasattr(report, "wasxfail"):
            return Ruling(Verdict.XPASS, _xfail_reason(report))
        return Ruling(Verdict.PASS)
    if report.skipped and not overrules_xfail(phase):
        if hasattr(report, "wasxfail"):
            return Ruling(Verdict.XFAIL, _xfail_reason(report))
        return Ruling(Verdict.SKIP, _short(str(error)))
    reason = _reason(error, report)
    if isinstance(error, BoardHung):
        if hung_before:
            return Ruling(Verdict.FAIL, f"hangs every time: {reason}", hung=True)
        return Ruling(Verdict.INFRA, reason, again=True, hung=True)
    if isinstance(error, InfraError):
        again = isinstance(error, LinkLost | ProtocolError)
        return Ruling(Verdict.INFRA, reason, again=again, console=_excerpt(error))
    if isinstance(error, KernelComplaint):
        return Ruling(Verdict.FAIL, reason, console=_excerpt(error))
    if isinstance(error, NoExpectation):
        return Ruling(Verdict.NEW, reason, observed=error.observed)
    if isinstance(error, _FAILURES) and report.when == "call":
        return Ruling(Verdict.FAIL, reason)
    return Ruling(Verdict.ERROR, reason)


def _excerpt(error: BaseException | None) -> tuple[str, ...]:
    while error is not None:
        if isinstance(error, CaseComplaint | BootFailed):
            return tuple(error.excerpt)
        error = error.__cause__
    return ()


def _reason(error: BaseException, report: pytest.TestReport) -> str:
    if isinstance(error, FarmError):
        step = f" ({error.next_step})" if isinstance(error, InfraError) and error.next_step else ""
        return _short(f"{error}{step}")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = getattr(crash, "message", "") or f"{type(error).__name__}: {error}"
    return _short(text.removeprefix("AssertionError: "))


def _xfail_reason(report: pytest.TestReport) -> str:
    return _short(getattr(report, "wasxfail", "").removeprefix("reason: "))


def _short(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    joined = " ".join(lines[:3])
    return joined if len(joined) <= MAX_REASON else f"{joined[: MAX_REASON - 1]}…"
