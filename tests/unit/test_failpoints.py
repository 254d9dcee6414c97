"""Failpoints: every point of the list is in the code and every one in the code is on the list."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from farm import events, failpoints
from farm.errors import JournalError, UsageError
from farm.failpoints import JOURNALED, POINTS, VARIABLE, WRITES, Failpoints, parse
from farm.run.journal import JournalWriter

FARM = Path(failpoints.__file__).parent


@cache
def all_calls() -> dict[str, list[ast.Call]]:
    """Return every call in the package by the name of its function or method."""
    found: dict[str, list[ast.Call]] = {}
    for file in FARM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found.setdefault(name, []).append(node)
    return found


def calls(name: str) -> list[ast.Call]:
    return all_calls().get(name, [])


def texts(node: ast.AST) -> set[str]:
    return {
        one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def test_every_named_point_is_in_the_code_once() -> None:
    seen = Counter(
        str(call.args[0].value)
        for call in calls("hit")
        if call.args and isinstance(call.args[0], ast.Constant)
    )
    assert seen == Counter(name for name in POINTS if not name.startswith("journal."))


def test_every_event_and_every_state_of_a_journal_is_a_point() -> None:
    types = {one.model_fields["type"].default for one in get_args(get_args(events.Event)[0])} - {
        "state"
    }
    states = {
        str(word.value.value)
        for call in calls("StateChanged")
        for word in call.keywords
        if word.arg == "state" and isinstance(word.value, ast.Constant)
    }
    for call in calls("_on_state"):
        states |= texts(call.args[0])
    assert set(JOURNALED) == types | states


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker.ending", "is no failpoint"),
        ("worker.ending=explode", "is no failpoint"),
        ("worker.ended=kill", "no point 'worker.ended'"),
        ("worker.ending#0=kill", "is no failpoint"),
        ("worker.ending=delay:x", "is no failpoint"),
        ("worker.ending=enospc", "nothing is written at 'worker.ending'"),
    ],
)
def test_a_wrong_word_is_a_usage_error(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_a_wrong_word_is_found_out_before_a_command_does_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from farm.cli.main import main; main()", "--version"],
        env={**os.environ, VARIABLE: "controller.recordd=kill"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "FARM_FAILPOINT: no point 'controller.recordd'" in done.stderr


def test_a_word_is_for_its_board_and_its_turn(tmp_path: Path) -> None:
    (one,) = parse("board-1:journal.plan.before#2=enospc")
    other = Failpoints((one,))
    other.board = "board-2"
    mine = Failpoints((one,))
    mine.board = "board-1"
    for _ in range(3):
        other.hit("journal.plan.before")
    mine.hit("journal.plan.before")
    with pytest.raises(OSError, match="No space left"):
        mine.hit("journal.plan.before")
    mine.hit("journal.plan.before")


@pytest.mark.parametrize(("action", "code"), [("kill", -9), ("exit", failpoints.EXIT_CODE)])
def test_a_process_ends_at_its_point(action: str, code: int) -> None:
    script = "from farm import failpoints; failpoints.hit('worker.ending')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: f"worker.ending={action}"},
        check=False,
    )
    assert done.returncode == code


@pytest.mark.parametrize("point", sorted(name for name in WRITES if name.startswith("journal.")))
def test_a_full_disk_leaves_a_journal_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    kind = point.split(".")[1]
    event = an_event(kind)
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(failpoints, "_text", f"{point}#2=enospc")
    monkeypatch.setattr(failpoints, "_process", None)
    with JournalWriter.create(path) as journal:
        journal.write(event)
        with pytest.raises(JournalError, match="cannot be written: No space left"):
            journal.write(event)
        journal.write(event)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [events.decode(line).seq for line in lines] == [0, 1]


def an_event(kind: str) -> Any:
    made: dict[str, Any] = {
        "job_started": events.JobStarted(
            run="r", job="j", board="b", board_type="t", image=events.ImageInfo(profile="none")
        ),
        "job_resumed": events.JobResumed(),
        "plan": events.Plan(tests=[]),
        "placed": events.Placed(board="b", image=events.ImageInfo(profile="none")),
        "board_ready": events.BoardReady(boot=1, kernel="6.12", boot_s=1.0),
        "case_started": events.CaseStarted(nodeid="a"),
        "case_finished": events.CaseFinished(nodeid="a", verdict="PASS"),
        "case_blamed": events.CaseBlamed(nodeid="a", reason="late"),
        "complaint": events.Complaint(pattern="panic", line="x"),
        "artifact": events.Artifact(name="a", path="a", sha256="0"),
        "job_finished": events.JobFinished(),
    }
    return made.get(kind) or events.StateChanged(state=kind)
