"""What is told of boards and jobs: the list of jobs, rows, `farm watch` and `farm logs`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from documented import documented
from journals import write_run
from rich.console import Console

from farm.cli import main as frame
from farm.cli import watch
from farm.lab import records
from farm.lab.place import Place
from farm.run import joblist
from farm.run.joblist import JobEntry
from farm.run.view import JobView
from farm.run.watch import WatchedJob, Watcher, rows

LAB = "127.0.0.1:1"
BOARD = "virt-smmuv3-1"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    for name in ("LG_COORDINATOR", "FARM_LAB"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["farm", *words])
    with pytest.raises(SystemExit) as caught:
        frame.main()
    return int(caught.value.code or 0)


def enlist(folder: Path, *, board: str = BOARD, run: str = "run-1", lab: str = LAB) -> None:
    """Write down that this process has a job."""
    joblist.enlist(
        coordinator=lab, board=board, board_type="sample", run=run, job=board, folder=folder
    )


def enlist_dead(folder: Path, *, run: str = "run-0", lab: str = LAB) -> None:
    """Write down that a process has it which is no more."""
    gone = {**records.this_process(), "started": 1}
    with mock.patch.object(records, "this_process", lambda: gone):
        enlist(folder, run=run, lab=lab)


def entry(board: str, *, pid: int, began: float = 1.0, lab: str = LAB, run: str = "r") -> JobEntry:
    return JobEntry(
        coordinator=lab, board=board, board_type="sample", run=run, job=board, began=began,
        folder=Path("/nowhere"), pid=pid, started=1, boot_id=records.boot_id(),
    )  # fmt: skip


def watched(one: JobEntry, *, over: bool, state: str = "running") -> WatchedJob:
    return WatchedJob(one, JobView(one.board, state=state), over)


PLACE = Place(BOARD, {"board_type": "sample"}, frozenset(), "", "", (), ("x",))


def test_a_job_is_known_while_it_runs_and_until_the_next_one(elsewhere: Path) -> None:
    enlist_dead(elsewhere / "old")
    (old,) = joblist.entries(BOARD)
    assert old.run == "run-0" and not old.alive()
    enlist(elsewhere / "new")
    (new,) = joblist.entries(BOARD, LAB)
    assert new.run == "run-1" and new.alive()
    assert joblist.entries("other") == [] == joblist.entries(coordinator="127.0.0.1:2")


def test_a_lab_that_stays_keeps_its_boards_last_job(elsewhere: Path) -> None:
    enlist_dead(elsewhere / "a", run="far", lab="lab.example:20408")
    enlist_dead(elsewhere / "b", run="near", lab="127.0.0.1:9")
    enlist(elsewhere / "c")
    assert [one.run for one in joblist.entries(BOARD)] == ["far", "run-1"]
    current = joblist.current(joblist.entries(BOARD))
    assert current is not None and current.run == "run-1"


def test_a_check_does_not_hide_the_run_before_it(elsewhere: Path) -> None:
    enlist_dead(elsewhere / "job")
    enlist_dead(elsewhere / "check", run=joblist.CHECK)
    found = joblist.entries(BOARD)
    assert [one.is_check for one in found] == [False, True]
    assert joblist.current(found) == found[0]
    jobs = [watched(one, over=True) for one in found]
    (row,) = rows({BOARD: PLACE}, jobs, {}, 9.0, LAB)
    assert row.job is jobs[0]


def test_a_state_folder_that_cannot_be_written_is_no_trouble(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(elsewhere / "file"))
    enlist(elsewhere)


def test_a_damaged_entry_is_left_out(elsewhere: Path) -> None:
    enlist(elsewhere)
    (elsewhere / "state/farm/jobs/bad.json").write_text("{")
    assert len(joblist.entries()) == 1


def test_a_board_has_one_row_with_its_newest_job() -> None:
    held = replace(PLACE, name="held", holder="host/ann")
    jobs = [
        watched(entry(BOARD, pid=1, began=2.0), over=True),
        watched(entry(BOARD, pid=2, began=1.0, run="now"), over=False),
        watched(entry(BOARD, pid=3, lab="127.0.0.1:7", run="elsewhere"), over=False),
    ]
    places = {one.name: one for one in (held, PLACE, replace(PLACE, name="sick"))}
    found = rows(places, jobs, {"sick": "it burns"}, 9.0, LAB)
    assert [(row.board, row.state, row.running) for row in found] == [
        (BOARD, "running", True),
        (BOARD, "running", True),
        ("held", "offline", False),
        ("sick", "offline", False),
    ]
    assert {row.job.entry.run for row in found if row.job} == {"now", "elsewhere"}


@pytest.mark.parametrize(
    ("changes", "sick", "state", "note"),
    [
        ({}, "", "free", ""),
        ({}, "quarantined since 02:10", "quarantined", "since 02:10"),
        ({"holder": "host/ann"}, "", "held", "host/ann"),
        ({"holder": "host/ann"}, "it burns", "quarantined", "it burns"),
        (
            {
                "holder": "host/farm-bo-1",
                "tags": {
                    "farm_lease": "host/farm-bo-1",
                    "farm_run": "run-7",
                    "farm_owner": "bo",
                    "farm_until": "849",
                },
            },
            "",
            "held",
            "run run-7 of bo, about 14 min left",
        ),
        ({"reservation": "TOKEN"}, "", "reserved", ""),
    ],
)
def test_a_board_without_a_job_says_who_has_it(
    changes: dict[str, Any], sick: str, state: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "online", True)
    (row,) = rows({BOARD: replace(PLACE, **changes)}, [], {BOARD: sick}, 9.0, LAB)
    assert (row.state, row.note, row.running) == (state, note, False)


def running_job(folder: Path) -> Path:
    """Let this process have the job that the journals of a run with every verdict tell of."""
    journal, _ = write_run(folder)
    lines = [f"2026-11-21T10:00:{n:02}.000+00:00 [ {n}.0] line {n} \x1b[2J" for n in range(5)]
    (journal.parent / "console.log").write_text("".join(f"{line}\n" for line in lines))
    enlist(journal.parent)
    return journal.parent


def test_watch_tells_of_a_running_job_as_json(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = running_job(elsewhere)
    assert call(monkeypatch, "watch", "--json", "--lines", "2") == 0
    body = json.loads(capsys.readouterr().out)
    (row,) = body["boards"]
    assert (row["board"], row["running"], row["job"]["folder"]) == (BOARD, True, str(folder))
    assert row["console"] == ["[ 3.0] line 3  [2J", "[ 4.0] line 4  [2J"]
    assert row["job"]["planned"] > row["job"]["done"] > 0
    assert row["job"]["verdicts"]["FAIL"] > 0
    named = {*body, *row, *row["job"]}
    assert named == documented("farm watch --json")


def test_watch_once_is_a_table_and_the_consoles(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running_job(elsewhere)
    assert call(monkeypatch, "watch", "--once") == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    for words in (BOARD, "run-1", " FAIL", "line 4"):
        assert words in said


def test_nothing_to_watch_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "watch", "--once") == 0
    assert "no lab is up and no job runs" in capsys.readouterr().err


def test_elsewhere_than_on_a_terminal_each_thing_is_told_once(elsewhere: Path) -> None:
    running_job(elsewhere)
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    told = watch.told(Watcher(""), console, pause=lambda: None)
    assert next(told).startswith(f"{BOARD}: run run-1, console in ")
    enlist(elsewhere / "next", board="next-1", run="run-2")
    assert next(told).startswith("next-1: run run-2, console in ")
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if line.startswith("FAIL ")]) > 1
    assert len(lines) == len(set(lines))


def test_a_job_whose_process_is_gone_is_over(elsewhere: Path) -> None:
    journal, _ = write_run(elsewhere)
    enlist_dead(journal.parent)
    assert Watcher("").look().rows == ()  # no lab tells of its board
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (old,) = joblist.entries()
    alive = old.model_copy(update={"pid": sleeper.pid, "started": records.start_time(sleeper.pid)})
    (path,) = (elsewhere / "state/farm/jobs").glob("*.json")
    path.write_text(alive.model_dump_json())
    watcher = Watcher("")
    assert [row.running for row in watcher.look().rows] == [True]
    sleeper.communicate(b"\n")
    (row,) = watcher.look().rows
    assert (row.state, row.running) == ("gone", False)


def test_logs_prints_the_console_of_the_job(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running_job(elsewhere)
    assert call(monkeypatch, "logs", BOARD, "-n", "1") == 0
    assert capsys.readouterr().out == "2026-11-21T10:00:04.000+00:00 [ 4.0] line 4 \\x1b[2J\n"
    assert call(monkeypatch, "logs", BOARD, "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert len(body["lines"]) == 5 and body["running"] is True
    assert body["lines"][0]["at"] == "2026-11-21T10:00:00.000+00:00"
    assert {*body, *body["lines"][0]} == documented("farm logs BOARD --json")
    enlist_dead(elsewhere, run=joblist.CHECK)
    assert call(monkeypatch, "logs", BOARD, "--check") == 3
    assert "of run check on virt-smmuv3-1: nothing was recorded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("virt-smmuv3-2",), 2, "did you mean 'virt-smmuv3-1'?"),
        ((BOARD, "-f", "--json"), 2, "leave out one"),
        ((BOARD, "--coordinator", "127.0.0.1:7"), 2, "none"),
        ((BOARD, "--check"), 2, "no check of this controller was on a board"),
        ((BOARD,), 3, "nothing has been recorded yet"),
    ],
)
def test_what_cannot_be_printed_is_said(
    words: tuple[str, ...],
    code: int,
    said: str,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    enlist(elsewhere)
    assert call(monkeypatch, "logs", *words) == code
    assert said in capsys.readouterr().err


def test_following_goes_on_with_the_next_job(elsewhere: Path) -> None:
    folders = [elsewhere / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "console.log").write_text(f"t begin {folder.name}\n")
    enlist_dead(folders[0])
    command = "from farm.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "logs", BOARD, "-f"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "t begin one\n"
        with (folders[0] / "console.log").open("a") as stream:
            stream.write("t more\n")
        assert process.stdout.readline() == "t more\n"
        enlist(folders[1])
        assert process.stdout.readline() == "t begin two\n"
    finally:
        process.send_signal(2)
        process.communicate()
    assert process.returncode == 0
