"""Which jobs run on this controller, and which one ran last on each board.

One small file per job below ``state_dir()/jobs/``, written by the process that has the job: what
watches boards finds the job's folder by it, wherever that is. Nothing but watching depends on it.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from farm import paths
from farm.lab import durable, records
from farm.lab.coordinator import is_loopback, normal_address

CHECK = "check"
"""The run that checks of a board's health belong to."""


class JobEntry(records.OfProcess):
    """A job on a board: of which run and lab, its folder, and the process that has it.

    ``began`` is when, in seconds since the epoch.
    """

    coordinator: str
    board: str
    board_type: str
    run: str
    job: str
    folder: Path
    began: float

    @property
    def is_check(self) -> bool:
        """Whether it is a check of the board's health, and no part of a run."""
        return self.run == CHECK


def enlist(
    *, coordinator: str, board: str, board_type: str, run: str, job: str, folder: Path
) -> None:
    """Write down that this process has a job now, in place of the board's one before.

    A disk that refuses it is no reason for a job to fail.
    """
    entry = JobEntry(
        coordinator=normal_address(coordinator),
        board=board,
        board_type=board_type,
        run=run,
        job=job,
        folder=folder.absolute(),
        began=time.time(),
        **records.this_process(),
    )
    with contextlib.suppress(OSError):
        path = _folder() / f"{quote(f'{run} {job}', safe='')}.json"
        durable.write(path, entry.model_dump_json(indent=1))
        for other, old in _read():
            if other != path and not old.alive() and _replaces(entry, old):
                other.unlink(missing_ok=True)


def entries(board: str = "", coordinator: str = "") -> list[JobEntry]:
    """Return the jobs that are known, oldest first: those of a board, of a lab, or all."""
    wanted = normal_address(coordinator) if coordinator else ""
    found = [
        entry
        for _, entry in _read()
        if board in ("", entry.board) and wanted in ("", entry.coordinator)
    ]
    return sorted(found, key=lambda entry: entry.began)


def current(found: list[JobEntry]) -> JobEntry | None:
    """Return the job that still has its process, else the newest of a run, else the newest.

    A check follows a run that ended badly, and should not hide it.
    """
    running = [entry for entry in found if entry.alive()]
    ranked = running or [entry for entry in found if not entry.is_check] or found
    return ranked[-1] if ranked else None


def _replaces(new: JobEntry, old: JobEntry) -> bool:
    """Tell whether an entry that is over makes room: a virtual lab has another port each time."""
    alike = new.coordinator == old.coordinator or is_loopback(old.coordinator)
    return new.board == old.board and new.is_check == old.is_check and alike


def _read() -> list[tuple[Path, JobEntry]]:
    found = []
    for path in _folder().glob("*.json"):
        with contextlib.suppress(OSError, ValidationError):
            found.append((path, JobEntry.model_validate_json(path.read_bytes())))
    return found


def _folder() -> Path:
    made = paths.state_dir() / "jobs"
    made.mkdir(parents=True, exist_ok=True)
    return made
