"""Memory that a kernel lost fails the test that lost it, whenever it is found.

The plugin runs in a process of its own, on a scripted board whose kernel has kmemleak.
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
from scripted_board import ScriptedMemory, ScriptedRig, block, passes
from farm.pytest_plugin import execution, job


class Rig(ScriptedRig):
    tags = {"hw_emulator": "script"}

    def close(self):
        pass


def loses(payload, run_id, case):
    RIG.memory.lose("refdev_lose")
    return passes(payload, run_id, case)


def fails_and_loses(payload, run_id, case):
    RIG.memory.lose("refdev_lose")
    return block(case, run_id, " # its own reason", "fail")


RIG = Rig({"quiet": passes, "loses": loses, "fails_and_loses": fails_and_loses})
RIG.memory = ScriptedMemory()
SCANS = []


def scans():
    SCANS.append(1)
    RIG.console.say("[ 99.0] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug)")


RIG.memory.says = scans


def scripted(self):
    self._rig = RIG
    return RIG


job.Job._open_rig = scripted
execution.LOOK_AGAIN_S = {again}


@pytest.fixture
def switched_off():
    RIG.memory.off = "sh: write error: Operation not permitted"


def pytest_unconfigure():
    print(f"scans: {len(SCANS)}")
"""

FIRST = """
def test_is_clean(board):
    board.run("quiet")

def test_loses(board):
    board.run("loses")
    board.run("loses")

def test_loses_on_purpose(board):
    board.run("loses", tolerate=["memory_leak"])

def test_fails_and_loses(board):
    board.run("fails_and_loses")
"""

SECOND = """
def test_is_clean(board):
    board.run("quiet")

@pytest.mark.xfail(reason="known", strict=True)
def test_is_known_to_fail_and_loses(board):
    board.run("fails_and_loses")

def test_loses_last(board):
    board.run("loses")
"""


class Run:
    """The plugin on suites of a scripted board."""

    def __init__(self, folder: Path, again: str = "0", **suites: str) -> None:
        project = Project(folder)
        project.write("conftest.py", CONFTEST.replace("{again}", again))
        for name, text in suites.items():
            project.write(f"{name}/test_{name}.py", f"import pytest\n{text}")
            project.write(f"{name}/suite.toml", suite_toml(name))
        done = project.pytest(
            *("--lg-env", str(CONFIGS / "virt-noiommu.yaml"), "--farm-out=out", "-s", *suites),
            PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'support'}",
        )
        self.said, self.status = done.stdout + done.stderr, done.returncode
        journal = project.folder / "out" / "journal.jsonl"
        assert journal.exists(), self.said
        self.found = list(events.read_journal(journal))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("leaks"), first=FIRST, second=SECOND)


def blamed(run: Run) -> dict[str, events.CaseBlamed]:
    return {one.nodeid: one for one in run.found if isinstance(one, events.CaseBlamed)}


def test_who_lost_memory_fails_and_nobody_else(run: Run) -> None:
    assert list(blamed(run)) == [
        "first/test_first.py::test_loses",
        "second/test_second.py::test_is_known_to_fail_and_loses",
        "second/test_second.py::test_loses_last",
    ]
    assert run.status == 1
    assert run.said.count("FAIL after all: ") == 3


def test_the_reason_says_what_was_lost_and_when_it_was_looked_for(run: Run) -> None:
    first = blamed(run)["first/test_first.py::test_loses"]
    assert first.reason == (
        "the kernel complained (memory_leak): kmemleak: 2 objects that nothing refers to: "
        "256 bytes by payload (pid 9) in refdev_lose, … (looked for after suite first)"
    )
    assert sum(line.startswith("unreferenced object") for line in first.console) == 2
    last = blamed(run)["second/test_second.py::test_loses_last"]
    assert last.reason.endswith("(looked for after the last test)")


def test_suites_that_end_soon_share_a_scan(tmp_path: Path) -> None:
    run = Run(tmp_path, again="300", first=FIRST, second=SECOND)
    assert "scans: 1" in run.said
    assert len(blamed(run)) == 3


def test_a_scan_follows_each_suite_and_the_kernels_summary_is_nobodys(run: Run) -> None:
    assert "scans: 2" in run.said
    found = [(one.nodeid, one.line) for one in run.found if isinstance(one, events.Complaint)]
    assert [nodeid.partition("::test_")[2] for nodeid, _ in found] == [
        "loses", "loses_on_purpose", "fails_and_loses", "is_known_to_fail_and_loses", "loses_last",
    ]  # fmt: skip
    assert not any("new suspected" in line for _, line in found)


def test_a_failure_keeps_its_own_reason(run: Run) -> None:
    ends = [one for one in run.found if isinstance(one, events.CaseFinished)]
    own = next(
        one for one in ends if one.nodeid.endswith("first/test_first.py::test_fails_and_loses")
    )
    assert own.verdict is Verdict.FAIL and "its own reason" in own.reason


def test_a_kmemleak_that_stops_is_told_of_and_harms_nobody(tmp_path: Path) -> None:
    clean = """def test_is_clean(board): board.run("quiet")\n"""
    run = Run(tmp_path, first=clean, second=f"{clean}def test_off(switched_off): pass\n")
    assert run.status == 0, run.said
    told = [one.detail for one in run.found if isinstance(one, events.StateChanged)]
    (detail,) = (one for one in told if one.startswith("kmemleak: "))
    assert "Operation not permitted" in detail
