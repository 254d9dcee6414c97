"""Lease records: one small fsynced file per lease, so that a later process can clear up.

A record names the keeper by pid, start time and controller boot id: a pid alone is reused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from farm import paths
from farm.lab import durable

MAX_RECORD = 64 << 10
"""Longest record that is read, in bytes."""


class OfProcess(BaseModel):
    """What a process has written down of itself, so that it can be told from a later one.

    ``started`` is its start time in clock ticks since boot (/proc/PID/stat field 22); ``boot_id``
    is /proc/sys/kernel/random/boot_id of the machine it runs on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: int = 1
    pid: int
    started: int
    boot_id: str

    def alive(self) -> bool:
        """Tell whether the very process that wrote the record still runs."""
        return self.boot_id == boot_id() and self.started == start_time(self.pid)


class LeaseRecord(OfProcess):
    """Who holds which place of which lab; the process is the keeper's.

    ``place`` is empty while it waits for one.
    """

    coordinator: str
    place: str
    identity: str
    token: str
    run: str
    job: str


def this_process() -> dict[str, Any]:
    """Return what :class:`OfProcess` says of the process that asks."""
    pid = os.getpid()
    return {"pid": pid, "started": start_time(pid), "boot_id": boot_id()}


def boot_id() -> str:
    """Return this boot's id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int) -> int:
    """Return a process's start time in clock ticks since boot, or -1 when it is gone.

    A zombie counts as gone: it holds nothing any more.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks
    return -1 if fields[0] in ("Z", "X") else int(fields[19])


def folder() -> Path:
    """Return the folder of records."""
    made = paths.state_dir() / "leases"
    made.mkdir(parents=True, exist_ok=True)
    return made


def write(record: LeaseRecord) -> Path:
    """Write a record so that it is whole or absent, also after a power cut."""
    target = folder() / f"{record.identity.replace('/', '_')}.json"
    durable.write(target, record.model_dump_json(indent=1))
    return target


def remove(path: Path) -> None:
    """Remove a record; one that is gone already is fine."""
    durable.remove(path)


def read_all() -> list[tuple[Path, LeaseRecord]]:
    """Return every readable record; what is no record is left alone."""
    found: list[tuple[Path, LeaseRecord]] = []
    for path in sorted(folder().glob("*.json")):
        try:
            with path.open("rb") as stream:
                text = stream.read(MAX_RECORD)
            found.append((path, LeaseRecord.model_validate_json(text)))
        except (OSError, ValidationError):
            continue
    return found
