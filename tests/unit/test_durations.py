"""How long jobs hold their boards, from those of before, and on which board a job was."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import events
from farm.run.journal import JournalWriter
from farm.store import ingest, load_run, open_store
from farm.store.durations import held_s

IMAGE = events.ImageInfo(profile="debian-13", id="abc")


def journal(path: Path, number: int, *, held: float, ok: bool = True) -> Path:
    """Write the journal of a job that waited a day, got another board and held it for a while."""
    now = 1_800_000_000.0 + 1000 * number
    times = iter([now, now, now + 86400, now + 86400, now + 86400 + held])
    start = events.JobStarted(
        run=f"run-{number}", job="any-sample-1", board="a", board_type="sample", image=IMAGE
    )
    with JournalWriter.create(path / f"{number}.jsonl", clock=lambda: next(times)) as writer:
        writer.write(start)
        writer.write(events.StateChanged(state="waiting"))
        other = events.ImageInfo(profile="debian-12", id="def")
        writer.write(events.Placed(board="b", image=other, hardware={"revision": "2"}))
        writer.write(events.StateChanged(state="leased"))
        writer.write(events.JobFinished(ok=ok))
    return path / f"{number}.jsonl"


def test_the_median_of_jobs_that_ended_in_order_is_expected(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "farm.db")) as store:
        assert held_s(store, "sample") == 0
        for number, held in enumerate((100.0, 300.0, 200.0)):
            ingest(journal(tmp_path, number, held=held), store)
        ingest(journal(tmp_path, 3, held=9.0, ok=False), store)
        assert held_s(store, "sample") == pytest.approx(200)
        assert held_s(store, "other") == 0


def test_a_job_is_stored_with_the_board_that_it_got_however_early_it_was_taken_in(
    tmp_path: Path,
) -> None:
    path = journal(tmp_path, 1, held=5.0)
    lines = path.read_bytes().splitlines(keepends=True)
    with open_store(str(tmp_path / "farm.db")) as store:
        path.write_bytes(b"".join(lines[:2]))
        ingest(path, store)
        (job,) = load_run(store, "run-1").jobs
        assert (job.board, job.image.profile) == ("a", "debian-13")
        path.write_bytes(b"".join(lines))
        ingest(path, store)
        (job,) = load_run(store, "run-1").jobs
        assert (job.board, job.image.profile, job.image.id) == ("b", "debian-12", "def")
        assert job.hardware == {"revision": "2"}
