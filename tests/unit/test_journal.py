"""The journal's writer: numbered, exclusive, and whole after a crash."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from farm.errors import JournalError
from farm.events import CaseStarted, JobFinished, StateChanged, read_journal
from farm.run.journal import JournalWriter


def test_numbers_and_stamps(tmp_path: Path) -> None:
    times = iter([10.0, 11.5])
    path = tmp_path / "deep" / "journal.jsonl"
    with JournalWriter.create(path, clock=lambda: next(times)) as journal:
        journal.write(StateChanged(state="waiting"))
        journal.write(CaseStarted(nodeid="a"))
    assert [(e.seq, e.t, e.type) for e in read_journal(path)] == [
        (0, 10.0, "state"),
        (1, 11.5, "case_started"),
    ]


def test_goes_on_where_it_ended_and_cuts_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with JournalWriter.create(path) as journal:
        journal.write(StateChanged(state="waiting"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    with JournalWriter.open(path) as journal:
        journal.write(JobFinished())
    assert [(e.seq, e.type) for e in read_journal(path)] == [(0, "state"), (1, "job_finished")]


def test_an_interrupt_waits_until_the_event_is_written_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def interrupted(descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sync(descriptor)

    path = tmp_path / "journal.jsonl"
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs this test
    try:
        with JournalWriter.create(path) as journal:
            monkeypatch.setattr(os, "fsync", interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.write(StateChanged(state="waiting"))
            monkeypatch.setattr(os, "fsync", sync)
            journal.write(JobFinished())
    finally:
        signal.signal(signal.SIGINT, usual)
    assert [(e.seq, e.type) for e in read_journal(path)] == [(0, "state"), (1, "job_finished")]


def test_a_file_that_is_torn_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"v":1,"se')
    with JournalWriter.open(path) as journal:
        journal.write(JobFinished())
    assert [e.seq for e in read_journal(path)] == [0]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with (
        JournalWriter.create(path),
        pytest.raises(JournalError, match="another writer has it"),
    ):
        JournalWriter.open(path)
    JournalWriter.open(path).close()


def test_create_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("precious")
    with pytest.raises(JournalError, match="cannot be created"):
        JournalWriter.create(path)
    assert path.read_text() == "precious"


def test_open_refuses_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(JournalError, match="cannot be opened"):
        JournalWriter.open(path)
    path.write_text("not json\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl:1"):
        JournalWriter.open(path)


def test_an_event_that_nobody_could_read_again_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.events.MAX_LINE", 200)
    with JournalWriter.create(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(JournalError, match="limit 200"):
            journal.write(StateChanged(state="x" * 300))
        journal.write(StateChanged(state="y"))
    assert [e.seq for e in read_journal(tmp_path / "journal.jsonl")] == [0]
