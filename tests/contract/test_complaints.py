"""What the kernel complains about decides a test's verdict, whatever pytest saw of it.

The plugin runs in a process of its own, on a scripted board.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_project import CONFIGS, ROOT, Project
from suite_files import suite_toml

from farm import events
from farm.model import Verdict

CONFTEST = """
import pytest
from scripted_board import ScriptedRig, block, cut, passes
from farm.pytest_plugin import job

PANIC = "[    9.0] Kernel panic - not syncing: sysrq triggered crash"
WARNING = "[    8.0] WARNING: CPU: 0 PID: 1 at drivers/dma-buf/dma-buf.c:1 f+0x0/0x10"


class Rig(ScriptedRig):
    tags = {"hw_emulator": "script"}

    def close(self):
        pass


def warns_and_fails(payload, run_id, case):
    RIG.console.say(WARNING)
    return block(case, run_id, " # its own reason", "fail")


def warns(payload, run_id, case):
    RIG.console.say(WARNING)
    return passes(payload, run_id, case)


def loses_the_link(payload, run_id, case):
    RIG.link.alive = False
    return cut(payload, run_id, case)


RIG = Rig(
    {
        "quiet": passes,
        "warns": warns,
        "warns_and_fails": warns_and_fails,
        "loses_the_link": loses_the_link,
    }
)


def scripted(self):
    self._rig = RIG
    return RIG


job.Job._open_rig = scripted


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid):
    if "then_panics" in nodeid:
        RIG.console.say(PANIC)
    if "then_warns" in nodeid:
        RIG.console.say(WARNING)


@pytest.fixture
def panic():
    return lambda: RIG.console.say("before it", PANIC, "Call trace:")


@pytest.fixture
def warn():
    return lambda: RIG.console.say(WARNING)
"""


class Board:
    """The plugin on a scripted board."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.said, self.status = "", 0
        self.finished: list[events.CaseFinished] = []
        self.found: list[events.Event] = []
        project.write("conftest.py", CONFTEST)
        project.write("suite.toml", suite_toml(project.folder.name))

    def run(self, suite: str) -> list[tuple[str, int, Verdict]]:
        """Return tests, attempts and verdicts."""
        self._project.write("test_it.py", f"import pytest\n{suite}")
        done = self._project.pytest(
            "--lg-env",
            str(CONFIGS / "virt-noiommu.yaml"),
            "--farm-out=out",
            "test_it.py",
            PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'support'}",
        )
        self.said, self.status = done.stdout + done.stderr, done.returncode
        journal = self._project.folder / "out" / "journal.jsonl"
        assert journal.exists(), self.said
        self.found = list(events.read_journal(journal))
        self.finished = [one for one in self.found if isinstance(one, events.CaseFinished)]
        return [
            (one.nodeid.partition("::test_")[2], one.attempt, one.verdict) for one in self.finished
        ]

    def found_blamed(self) -> list[events.CaseBlamed]:
        return [one for one in self.found if isinstance(one, events.CaseBlamed)]

    def boots(self) -> int:
        return sum(isinstance(one, events.BoardReady) for one in self.found)

    def complaints(self) -> list[tuple[str, str]]:
        return [
            (one.pattern, one.nodeid.partition("::test_")[2])
            for one in self.found
            if isinstance(one, events.Complaint)
        ]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(Project(tmp_path))


def test_a_panic_outside_a_case_fails_the_test_that_was_running(board: Board) -> None:
    seen = board.run(
        """
def test_panics(board, panic):
    board.run("quiet")
    panic()

def test_runs_after(board):
    board.run("quiet")

def test_skips(board, panic):
    panic()
    pytest.skip("nothing to see here")

@pytest.mark.xfail(reason="known")
def test_is_known_to_fail(board, panic):
    panic()
    assert False

def test_loses_the_link(board, panic):
    panic()
    board.run("loses_the_link")

def test_breaks(board, panic):
    panic()
    raise OSError("of its own")
"""
    )
    assert seen == [
        ("panics", 1, Verdict.FAIL),
        ("runs_after", 1, Verdict.PASS),
        ("skips", 1, Verdict.FAIL),
        ("is_known_to_fail", 1, Verdict.FAIL),
        ("loses_the_link", 1, Verdict.FAIL),
        ("breaks", 1, Verdict.FAIL),
    ]
    first, last = board.finished[0], board.finished[-1]
    assert first.reason.startswith("the kernel died (panic): [    9.0] Kernel panic")
    assert "before it" in first.console and "Call trace:" in first.console
    assert last.reason.startswith("the kernel died (panic)") and "of its own" in last.reason
    assert board.boots() == 5
    assert "5 failed, 1 passed" in board.said
    assert board.complaints().count(("panic", "panics")) == 1


def test_what_is_said_between_tests_is_the_fault_of_the_one_before(board: Board) -> None:
    seen = board.run(
        """
def test_then_panics(board):
    board.run("quiet")

def test_after_the_panic_then_warns(board):
    board.run("quiet")

def test_on_purpose_then_warns(board):
    board.run("quiet", tolerate=["warning"])

def test_fails_and_then_warns(board):
    assert board.run("quiet") is None

def test_last_and_then_warns(board):
    board.run("quiet")
"""
    )
    assert [verdict for _, _, verdict in seen] == [
        Verdict.PASS, Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.PASS,
    ]  # fmt: skip
    blamed = {one.nodeid.partition("::test_")[2]: one for one in board.found_blamed()}
    assert list(blamed) == ["then_panics", "after_the_panic_then_warns", "last_and_then_warns"]
    panic = blamed["then_panics"].reason
    assert panic.startswith("the kernel died (panic)")
    assert "(between the end of this test and " in panic
    assert panic.endswith("test_it.py::test_after_the_panic_then_warns)")
    assert blamed["last_and_then_warns"].reason.endswith("(after the last test)")
    assert board.boots() == 2
    assert board.said.count("FAIL after all: ") == 3
    assert board.complaints() == [
        ("panic", "then_panics"),
        ("warning", "after_the_panic_then_warns"),
        ("warning", "on_purpose_then_warns"),
        ("warning", "fails_and_then_warns"),
        ("warning", "last_and_then_warns"),
    ]


def test_one_test_that_is_blamed_after_its_end_fails_the_run(board: Board) -> None:
    board.run("""def test_then_warns(board): board.run("quiet")""")
    assert board.status == 1


def test_a_warning_outside_a_case_fails_the_test_that_was_running(board: Board) -> None:
    seen = board.run(
        """
def test_warns_later(board, warn):
    board.run("quiet")
    warn()

def test_judges_for_itself(board):
    assert board.run("warns_and_fails", check=False).outcome == "fail"

def test_fails(board):
    board.run("warns_and_fails")

def test_skips(board, warn):
    warn()
    pytest.skip("nothing to see here")

def test_catches_it(board):
    with pytest.raises(Exception, match="WARNING"):
        board.run("warns")

def test_breaks(board, warn):
    warn()
    raise OSError("of its own")

def test_warns_on_purpose(board, warn):
    board.run("warns", tolerate=["warning"])
    warn()

def test_is_clean(board):
    board.run("quiet")
"""
    )
    assert seen == [
        ("warns_later", 1, Verdict.FAIL),
        ("judges_for_itself", 1, Verdict.FAIL),
        ("fails", 1, Verdict.FAIL),
        ("skips", 1, Verdict.FAIL),
        ("catches_it", 1, Verdict.FAIL),
        ("breaks", 1, Verdict.FAIL),
        ("warns_on_purpose", 1, Verdict.PASS),
        ("is_clean", 1, Verdict.PASS),
    ]
    first, judges, fails = board.finished[:3]
    assert first.reason.startswith("the kernel complained (warning): [    8.0] WARNING")
    assert judges.reason.startswith("the kernel complained (warning)")
    assert fails.reason.endswith("case warns_and_fails: its own reason")
    assert board.boots() == 1


def test_no_xfail_hides_a_warning(board: Board) -> None:
    seen = board.run(
        """
@pytest.mark.xfail(reason="known")
def test_warns(board):
    board.run("warns")

@pytest.mark.xfail(reason="known")
def test_warns_outside(board, warn):
    warn()
    assert False

@pytest.mark.xfail(reason="known")
def test_warns_on_purpose(board):
    board.run("warns", tolerate=["warning"])
    assert False
"""
    )
    assert seen == [
        ("warns", 1, Verdict.FAIL),
        ("warns_outside", 1, Verdict.FAIL),
        ("warns_on_purpose", 1, Verdict.XFAIL),
    ]
    assert "2 failed, 1 xfailed" in board.said


def test_what_nothing_expects_is_new_and_the_run_is_not_settled(board: Board) -> None:
    seen = board.run(
        """
from farm.errors import NoExpectation

def test_saw_something(board):
    board.run("quiet")
    raise NoExpectation("no row for it", observed={"outcome": "shared"})

@pytest.mark.xfail(reason="known")
def test_is_known_to_fail(board):
    raise NoExpectation("no row for it")

def test_passes(board):
    board.run("quiet")
"""
    )
    assert seen == [
        ("saw_something", 1, Verdict.NEW),
        ("is_known_to_fail", 1, Verdict.NEW),
        ("passes", 1, Verdict.PASS),
    ]
    assert [one.observed for one in board.finished] == [{"outcome": "shared"}, {}, {}]
    assert board.finished[0].reason == "no row for it"
    assert "NEW    2" in board.said and board.status == 3
