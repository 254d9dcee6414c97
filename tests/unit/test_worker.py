"""A worker's words: how a job ended, and what pytest is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import events
from farm.model import Verdict
from farm.run.job import LATE, STOPPED, TIME_BOX, JobSpec
from farm.run.view import JobView
from farm.run.worker import Stop, arguments, ending


def view(planned: int, *verdicts: Verdict) -> JobView:
    made = JobView("board")
    keys = [events.Key(nodeid=str(n), suite="s", test="t") for n in range(planned)]
    made.add(events.Plan(tests=keys))
    for number, verdict in enumerate(verdicts):
        made.add(events.CaseFinished(nodeid=str(number), verdict=verdict, reason="silence"))
    return made


@pytest.mark.parametrize(
    ("code", "seen", "reason", "lost"),
    [
        (0, view(1, Verdict.PASS), "", False),
        (1, view(1, Verdict.FAIL), "", False),
        (3, view(1, Verdict.INFRA), "", False),
        (3, view(2, Verdict.INFRA), "silence", True),
        (1, view(2, Verdict.FAIL), "silence", False),
        (3, view(2, Verdict.PASS), "1 tests never ran; see worker.log", True),
        (3, JobView("board"), "pytest ended with 3 before any test; see worker.log", False),
        (2, view(2), "a suite could not be collected; see worker.log", False),
        (5, JobView("board"), "no test was selected", False),
        (LATE, view(2, Verdict.PASS), TIME_BOX, False),
    ],
)
def test_how_a_job_ended(code: int, seen: JobView, reason: str, lost: bool) -> None:
    assert ending(code, seen) == (reason, lost)


@pytest.mark.parametrize(
    ("asked", "lost"),
    [(STOPPED, False), ("nothing happened for 900 s", True), ("terminated", True), ("", True)],
)
def test_a_job_is_lost_unless_a_user_ended_it(
    asked: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.kill", lambda pid, number: None)
    stop = Stop()
    stop.ask(asked)
    assert stop.ending == (asked or "interrupted", lost)


def test_what_pytest_is_told(tmp_path: Path) -> None:
    spec = JobSpec(
        run="run",
        job="board",
        coordinator="127.0.0.1:1",
        board="board",
        board_type="sample",
        config=tmp_path / "sample.yaml",
        image=events.ImageInfo(profile="debian-13"),
        suites=["mapcache"],
        select=[],
        folder=tmp_path,
    )
    words = arguments(spec)
    assert f"--lg-env={tmp_path}/sample.yaml" in words
    assert f"--farm-journal={tmp_path}/journal.jsonl" in words
    assert f"--farm-select={tmp_path}/select.txt" in words
    assert words[-1] == "mapcache"
    everything = arguments(spec.model_copy(update={"select": None}))
    assert not any(word.startswith("--farm-select") for word in everything)
    assert words[words.index("-m") + 1] == "" and "-m" not in everything
    assert not any(word.startswith(("--farm-shard", "--farm-no-cache")) for word in words)
    part = arguments(spec.model_copy(update={"shard": 1, "shards": 2, "cached": False}))
    assert "--farm-until=1789970000.500" in arguments(
        spec.model_copy(update={"until": 1789970000.5})
    )
    assert not any(word.startswith("--farm-until") for word in words)
    assert "--farm-shard=1/2" in part and "--farm-no-cache" in part
