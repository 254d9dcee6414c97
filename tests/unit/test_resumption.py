"""What is left of a job whose controller died, and who may go on with it."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import events
from farm.errors import InfraError
from farm.lab.place import Place
from farm.lab.wanted import Wanted
from farm.model import Verdict
from farm.run import unfinished
from farm.run.closing import close, resumed, started
from farm.run.job import JobSpec, Reserved
from farm.run.journal import JournalWriter
from farm.run.resumption import MAX_RESUMES, look, resumption, settled
from farm.run.unfinished import Asked, Claim, Part
from farm.run.view import JobView
from farm.store.fold import fold_journal

NAMES = ("s/t.py::a", "s/t.py::b", "s/t.py::c")
PLAN = events.Plan(tests=[events.Key(nodeid=name, suite="s", test=name) for name in NAMES])


def spec(folder: Path, **more: Any) -> JobSpec:
    known: dict[str, Any] = {
        "run": "20261121-081502-x3f9",
        "job": "board-1",
        "coordinator": "127.0.0.1:1",
        "board": "board-1",
        "board_type": "sample",
        "config": folder / "sample.yaml",
        "image": events.ImageInfo(profile="installed", id="0123"),
        "hardware": {"revision": "1"},
        "folder": folder / "board-1",
    }
    return JobSpec(**{**known, **more})


def place(**tags: str) -> dict[str, Place]:
    known = {"board_type": "sample", "image_id": "0123", "hw_revision": "1"}
    one = Place("board-1", {**known, **tags}, frozenset(), "", "", (), ())
    return {"board-1": one}


def start(name: str, attempt: int = 1, replicate: int = 0) -> events.CaseStarted:
    return events.CaseStarted(nodeid=name, attempt=attempt, replicate=replicate)


def end(
    name: str, verdict: Verdict = Verdict.PASS, attempt: int = 1, replicate: int = 0
) -> events.CaseFinished:
    return events.CaseFinished(nodeid=name, verdict=verdict, attempt=attempt, replicate=replicate)


def view(*happened: events.Event) -> JobView:
    made = JobView("board-1")
    for event in happened:
        made.add(event)
    return made


A, B, C = NAMES


@pytest.mark.parametrize(
    ("happened", "repeat", "left"),
    [
        ([], 1, [A, B, C]),
        ([start(A)], 1, [A, B, C]),
        ([start(A), end(A)], 1, [B, C]),
        ([start(A), end(A), start(B)], 1, [B, C]),
        ([start(A), end(A, Verdict.FAIL), start(B), end(B, Verdict.SKIP)], 1, [C]),
        ([start(A), end(A, Verdict.INFRA)], 1, [A, B, C]),  # its second attempt is due
        ([start(A), end(A, Verdict.INFRA), start(A, 2), end(A, Verdict.INFRA, 2)], 1, [B, C]),
        ([start(A), end(A)], 2, [A, B, C]),  # its second replicate is due
        ([start(A), end(A), start(A, 1, 1)], 2, [A, B, C]),
        ([start(A), end(A), start(A, 1, 1), end(A, replicate=1)], 2, [B, C]),
        ([start(A), end(A, Verdict.SKIP)], 5, [B, C]),
        ([start(A), end(A), events.Plan(tests=[
            events.Key(nodeid=f"{B}@one", suite="s", test="b")])], 1, [B, C]),
    ],
)  # fmt: skip
def test_what_is_left(happened: list[events.Event], repeat: int, left: list[str]) -> None:
    assert view(PLAN, *happened).left(repeat) == left


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(list(Verdict))), max_size=9))
def test_going_on_from_any_event_ends_with_every_verdict_once(
    order: list[tuple[str, Verdict]],
) -> None:
    """Cut a job after any number of events; run what is left; nothing is missing or doubled."""
    whole: list[events.Event] = []
    tried: dict[str, int] = {}
    for name, verdict in order:
        attempt = tried[name] = tried.get(name, 0) + 1
        whole += [start(name, attempt), end(name, verdict, attempt)]
    for cut in range(len(whole) + 1):
        made = view(PLAN, *whole[:cut], resumed())
        for name in made.left(1):
            attempt = made.attempts.get(name, 0) + 1
            made.add(start(name, attempt))
            made.add(end(name, Verdict.PASS, attempt))
        assert made.left(1) == []
        assert sum(made.final_counts().values()) == len(NAMES)
        keys = [(one.nodeid, one.attempt) for one in whole[:cut] if one.type == "case_finished"]
        assert len(set(keys)) == len(keys)


def test_a_job_that_ended_by_itself_is_over_and_one_that_lost_its_controller_is_not() -> None:
    mine = view(PLAN, events.JobFinished(ok=False, reason="stopped by the user"))
    orphan = view(PLAN, events.JobFinished(ok=False, reason="its controller died", orphaned=True))
    assert mine.over and not orphan.over
    orphan.add(resumed())
    assert (orphan.finished, orphan.resumed, orphan.reason) == (False, 1, "")


def test_a_job_goes_on_with_what_is_left_of_its_own_part(tmp_path: Path) -> None:
    job = spec(tmp_path, shard=1, shards=2, select=["x"])
    found = resumption(job, view(PLAN, start(A), end(A), start(B)), place())
    assert isinstance(found, JobSpec)
    assert (found.select, found.shard, found.shards, found.resumes) == ([B, C], 0, 1, 1)
    begun = resumption(job, view(), place())
    assert isinstance(begun, JobSpec)
    assert (begun.select, begun.shard, begun.shards) == (["x"], 1, 2)


@pytest.mark.parametrize(
    ("seen", "places", "reason"),
    [
        (view(PLAN), {}, "the lab has no board board-1 any more"),
        (view(PLAN), place(image_id="4567"), "boots image 4567 now, not 0123"),
        (view(PLAN), place(hw_revision="2"), "the hardware of board board-1 has changed"),
        (view(PLAN, *[resumed()] * MAX_RESUMES), place(), "its controller died 4 times"),
    ],
)
def test_what_a_job_cannot_go_on_with(
    tmp_path: Path, seen: JobView, places: dict[str, Place], reason: str
) -> None:
    found = resumption(spec(tmp_path), seen, places)
    assert isinstance(found, str) and reason in found


def test_a_job_that_several_boards_would_do_for_stays_on_the_one_it_got(tmp_path: Path) -> None:
    any_board = spec(
        tmp_path,
        wanted=Wanted(board_type="sample"),
        reserved=Reserved(identity="desk/farm-x", token="T"),
    )
    waiting = resumption(any_board, view(), {})
    assert isinstance(waiting, JobSpec) and waiting.wanted and waiting.reserved is None
    got = events.Placed(board="board-2", image=any_board.image, hardware=dict(any_board.hardware))
    assert "no board board-2" in str(resumption(any_board, view(got, PLAN), place()))
    there = {"board-2": replace(place()["board-1"], name="board-2")}
    found = resumption(any_board, view(got, PLAN), there)
    assert isinstance(found, JobSpec) and (found.board, found.wanted) == ("board-2", None)


def test_a_job_whose_tests_are_all_done_needs_no_board(tmp_path: Path) -> None:
    done = view(PLAN, *(event for name in NAMES for event in (start(name), end(name))))
    assert settled(spec(tmp_path), done)
    assert resumption(spec(tmp_path), done, {}) == ""
    assert not settled(spec(tmp_path), view())


def test_a_closed_job_says_why_and_keeps_what_it_had(tmp_path: Path) -> None:
    job = spec(tmp_path)
    with JournalWriter.create(job.journal) as journal:
        for event in (started(job), PLAN, start(A), end(A), start(B)):
            journal.write(event)
    torn = job.journal.read_bytes()
    job.journal.write_bytes(torn + b'{"v":1,"seq":5,"t"')
    (job.folder / "console.log").write_text("said\n")
    close(job, "closed")
    seen = look(job)
    assert seen.over and seen.final_counts() == {
        Verdict.PASS: 1,
        Verdict.INFRA: 1,
        Verdict.MISS: 1,
    }
    kept = fold_journal(job.journal).job
    assert [one.name for one in kept.artifacts] == ["console.log"]
    assert [test.reason for test in kept.tests if test.verdict is Verdict.MISS] == [
        "never ran: closed"
    ]


def test_a_job_that_never_began_is_closed_as_well(tmp_path: Path) -> None:
    job = spec(tmp_path)
    close(job, "closed")
    assert [event.type for event in events.read_journal(job.journal)] == [
        "job_started",
        "job_finished",
    ]


def test_a_resumed_journal_is_one_job_with_all_its_attempts(tmp_path: Path) -> None:
    job = spec(tmp_path)
    with JournalWriter.create(job.journal) as journal:
        orphaned = events.JobFinished(ok=False, reason="its controller died", orphaned=True)
        for event in (
            started(job), PLAN, events.BoardReady(boot=1, kernel="6.12", boot_s=1.0),
            start(A), end(A), start(B), orphaned, resumed(),
            events.BoardReady(boot=2, kernel="6.12", boot_s=1.0),
            start(B, 2), end(B, Verdict.PASS, 2), start(C), end(C),
            events.JobFinished(),
        ):  # fmt: skip
            journal.write(event)
    kept = fold_journal(job.journal).job
    assert (kept.finished, kept.ok, kept.reason, len(kept.boots)) == (True, True, "", 2)
    assert [(test.nodeid, test.attempt, test.verdict, test.final) for test in kept.tests] == [
        (A, 1, Verdict.PASS, True),
        (B, 1, Verdict.INFRA, False),
        (B, 2, Verdict.PASS, True),
        (C, 1, Verdict.PASS, True),
    ]


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Part(coordinator="127.0.0.1:1", jobs=[spec(tmp_path)])


RUN = "20261121-081502-x3f9"


def new(folder: Path) -> Claim:
    return Claim.new(RUN, folder, None, [Asked()])


def test_a_run_is_owed_until_it_is_forgotten(part: Part, tmp_path: Path) -> None:
    mine = new(tmp_path)
    assert unfinished.every() == []
    mine.owe(part)
    mine.owe(part)
    mine.disown()
    assert unfinished.every() == [mine.record] and mine.record.jobs == part.jobs
    assert unfinished.claim(RUN) is None
    mine.let_go()
    again = unfinished.claim(RUN)
    assert again is not None and again.record == mine.record
    assert unfinished.claim(RUN) is None
    again.forget()
    assert unfinished.every() == []
    assert unfinished.claim(RUN) is None


def test_what_did_not_begin_is_not_owed(part: Part, tmp_path: Path) -> None:
    mine = new(tmp_path)
    mine.owe(part)
    mine.disown()
    assert unfinished.every() == []


def _begin_and_die(folder: Path, part: Part) -> None:
    new(folder).owe(part)
    os._exit(1)


def test_a_dead_controllers_run_can_be_had(part: Part, tmp_path: Path) -> None:
    controller = multiprocessing.get_context("spawn").Process(
        target=_begin_and_die, args=(tmp_path, part)
    )
    controller.start()
    controller.join()
    found = unfinished.claim(RUN)
    assert found is not None and found.record.parts == [part]
    found.let_go()


def test_a_record_that_cannot_be_read_is_nobodys(part: Part, tmp_path: Path) -> None:
    mine = new(tmp_path)
    mine.owe(part)
    mine.let_go()
    file = next((tmp_path / "state" / "farm" / "runs").glob("*.json"))
    file.write_text("{")
    assert unfinished.every() == [] and unfinished.claim(RUN) is None


def test_a_run_that_cannot_be_recorded_does_not_begin(part: Part, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "farm" / "runs"
    folder.mkdir(parents=True)
    (folder / f"{RUN}.lock").mkdir()
    with pytest.raises(InfraError, match="the run cannot be recorded"):
        new(tmp_path).owe(part)
