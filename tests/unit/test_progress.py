"""Progress: what is shown of running jobs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from farm import events
from farm.model import Verdict
from farm.run.job import JobSpec
from farm.run.orchestrator import Job
from farm.run.progress import LiveProgress, PlainProgress, progress
from farm.run.view import Follower, JobView


def job(folder: Path) -> Job:
    spec = JobSpec(
        run="run",
        job="board-1",
        coordinator="127.0.0.1:1",
        board="board-1",
        board_type="sample",
        config=folder / "sample.yaml",
        image=events.ImageInfo(profile="none"),
        folder=folder,
    )
    return Job(spec, JobView("board-1"), Follower(spec.journal))


def test_plain_progress_tells_each_thing_once(tmp_path: Path) -> None:
    stream = io.StringIO()
    shown = progress(Console(file=stream, width=200))
    assert isinstance(shown, PlainProgress)
    one = job(tmp_path)
    with shown:
        one.view.add(events.StateChanged(state="booting"))
        shown.update([one])
        shown.update([one])
        one.view.add(events.BoardReady(boot=1, kernel="6.12", boot_s=3.25))
        one.view.add(events.StateChanged(state="ready"))
        shown.update([one])
        failed = events.CaseFinished(
            nodeid="s/t.py::x", verdict=Verdict.FAIL, reason="2 maps\x1b[31m where 0\nmore"
        )
        one.view.add(failed)
        shown.update([one])
        shown.update([one])
        one.over = True
        shown.update([one])
    assert stream.getvalue().splitlines() == [
        "board-1: booting",
        "board-1: ready after 3.2 s, kernel 6.12",
        "FAIL  board-1: s/t.py::x: 2 maps [31m where 0",
        "board-1: done 1/0 tests",
    ]


def test_live_progress_shows_state_counts_and_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=True)
    shown = progress(console)
    assert isinstance(shown, LiveProgress)
    (tmp_path / "console.log").write_text("[ 1.0] first\n[ 2.0] Linux version 6.12\n\n")
    one = job(tmp_path)
    one.view.add(events.Plan(tests=[events.Key(nodeid="a", suite="s", test="a")]))
    one.view.add(events.StateChanged(state="running"))
    one.view.add(events.CaseFinished(nodeid="a", verdict=Verdict.PASS))
    with shown:
        shown.update([one])
        shown.say("stopping")
    text = stream.getvalue()
    for words in ("board-1", "running", "1/1", "1 PASS", "Linux version 6.12", "stopping"):
        assert words in text


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress(Console(file=io.StringIO(), force_terminal=True)), PlainProgress)
