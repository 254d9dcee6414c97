"""From errors to verdicts; and samples of several payload runs in one test."""

from __future__ import annotations

import pytest

from farm.board.boot import BootFailed
from farm.board.console import ConsoleEvent
from farm.board.ktap import Block, RawSample
from farm.board.lifetime import BoardGone
from farm.board.result import BoardHung, CaseComplaint, CaseResult
from farm.errors import (
    BoardError,
    CaseCrashed,
    ControlError,
    LinkLost,
    NoExpectation,
    ProtocolError,
    UsageError,
)
from farm.model import Verdict
from farm.pytest_plugin.board import CaseFailed
from farm.pytest_plugin.record import Phase, Record
from farm.pytest_plugin.verdicts import judge, overrules_xfail


def report(when: str, outcome: str, wasxfail: str | None = None) -> pytest.TestReport:
    made = pytest.TestReport("n", ("f", 1, "t"), {}, outcome, None, when)  # type: ignore[arg-type]
    if wasxfail is not None:
        made.wasxfail = wasxfail
    return made


def called(
    error: BaseException | None, outcome: str = "failed", wasxfail: str | None = None
) -> list[Phase]:
    return [
        Phase(report("setup", "passed"), None),
        Phase(report("call", outcome, wasxfail), error),
        Phase(report("teardown", "passed"), None),
    ]


def result(outcome: str = "pass", case: str = "c") -> CaseResult:
    samples = (RawSample("wall", 1, "ns", "case"), RawSample("maps", 2, "count", "first"))
    return CaseResult.of(Block(case, "1", "0" * 16, outcome, "", {}, samples, {"cpu": "none"}, ()))


def complaint(fatal: bool) -> CaseComplaint:
    event = ConsoleEvent("panic" if fatal else "warning", fatal, "line", 1)
    return CaseComplaint("the kernel died", events=(event,), excerpt=("line",), fatal=fatal)


@pytest.mark.parametrize(
    ("error", "verdict", "again"),
    [
        (AssertionError("assert 3 == 1"), Verdict.FAIL, False),
        (CaseFailed("case c: 3 maps", result("fail")), Verdict.FAIL, False),
        (pytest.fail.Exception("no"), Verdict.FAIL, False),
        (complaint(fatal=True), Verdict.FAIL, False),
        (complaint(fatal=False), Verdict.FAIL, False),
        (LinkLost("gone"), Verdict.INFRA, True),
        (ProtocolError("garbled"), Verdict.INFRA, True),
        (BoardHung("silent"), Verdict.INFRA, True),
        (BoardError("no key"), Verdict.INFRA, False),
        (BoardGone("given up"), Verdict.INFRA, False),
        (NoExpectation("no row"), Verdict.NEW, False),
        (CaseCrashed("SIGSEGV"), Verdict.ERROR, False),
        (ControlError("counted nothing"), Verdict.ERROR, False),
        (UsageError("no such device"), Verdict.ERROR, False),
        (ZeroDivisionError("division by zero"), Verdict.ERROR, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_verdict_of_an_error(error: BaseException, verdict: Verdict, again: bool) -> None:
    ruling = judge(called(error), hung_before=False)
    assert (ruling.verdict, ruling.again) == (verdict, again)
    assert ruling.reason


def test_pass_skip_and_expected_failures() -> None:
    def verdict(*arguments: object) -> Verdict:
        return judge(called(*arguments), hung_before=False).verdict  # type: ignore[arg-type]

    assert verdict(None, "passed") is Verdict.PASS
    assert verdict(pytest.skip.Exception("none"), "skipped") is Verdict.SKIP
    assert verdict(AssertionError("x"), "skipped", "known") is Verdict.XFAIL
    assert verdict(None, "passed", "known") is Verdict.XPASS
    assert verdict(None, "failed") is Verdict.XPASS


@pytest.mark.parametrize(
    "error", [LinkLost("x"), ControlError("x"), complaint(fatal=True), complaint(fatal=False)]
)
def test_no_xfail_hides_a_broken_board_or_test_or_a_complaint(error: BaseException) -> None:
    phases = called(error, "skipped", "known")
    assert overrules_xfail(phases[1])
    assert judge(phases, hung_before=False).verdict is not Verdict.XFAIL


def test_a_second_hang_is_the_tests_failure() -> None:
    ruling = judge(called(BoardHung("silent")), hung_before=True)
    assert ruling.verdict is Verdict.FAIL and "every time" in ruling.reason
    assert judge(called(LinkLost("gone")), hung_before=True).verdict is Verdict.INFRA


def test_trouble_outside_the_call() -> None:
    setup = [Phase(report("setup", "failed"), AssertionError("fixture"))]
    assert judge(setup, hung_before=False).verdict is Verdict.ERROR
    lost = [Phase(report("setup", "failed"), BoardGone("given up"))]
    assert judge(lost, hung_before=False).verdict is Verdict.INFRA
    teardown = [*called(None, "passed")[:2], Phase(report("teardown", "failed"), OSError("x"))]
    assert judge(teardown, hung_before=False).verdict is Verdict.ERROR
    assert judge([], hung_before=False).verdict is Verdict.MISS


def test_console_of_a_failed_boot_is_kept() -> None:
    gone = BoardGone("given up")
    gone.__cause__ = BootFailed("no SSH", ["last words"])
    assert judge(called(gone), hung_before=False).console == ("last words",)


def test_reason_is_short_and_one_line() -> None:
    reason = judge(called(AssertionError("a\nb\n" + "c" * 900)), hung_before=False).reason
    assert "\n" not in reason and len(reason) <= 500


def test_a_lost_board_comes_with_the_next_step() -> None:
    gone = BoardGone("b: the outlet does not answer", next_step="check it")
    reason = judge(called(gone), hung_before=False).reason
    assert reason == "b: the outlet does not answer (check it)"


def test_samples_of_several_runs_are_told_apart() -> None:
    record = Record()
    record.runs = [
        ({"size": "1", "to": "x"}, result()),
        ({"size": "1", "to": "x"}, result()),
        ({"size": "2", "to": "x"}, result()),
        ({}, result(case="control")),
    ]
    samples = record.samples()
    keys = [(s.metric, tuple(sorted(s.params.items())), s.replicate) for s in samples]
    assert len(set(keys)) == len(keys) == 8
    assert [(s.params, s.replicate) for s in samples if s.metric == "wall"] == [
        ({"phase": "case"}, 0),
        ({"phase": "case", "nth": "2"}, 0),
        ({"phase": "case", "size": "2"}, 0),
        ({"phase": "case", "run_case": "control"}, 0),
    ]
    assert [one.counter for one in record.absent()] == ["cpu"]
    assert record.case_hash("control") == "0" * 16
