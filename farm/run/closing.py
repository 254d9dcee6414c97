"""What a job's journal begins and ends with, whether its worker writes it or who finds it dead."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from farm import __version__, events
from farm.lab import records
from farm.lab.coordinator import local_host
from farm.run.job import JobSpec
from farm.run.journal import JournalWriter

EXTERNAL = "external"
"""Folder of what programs of somebody else's printed, and of what they were made of."""


def started(spec: JobSpec) -> events.JobStarted:
    """Return the first event of a job that this process carries out."""
    return events.JobStarted(
        run=spec.run,
        job=spec.job,
        board=spec.board,
        board_type=spec.board_type,
        image=spec.image,
        hardware=spec.hardware,
        farm_version=__version__,
        argv=spec.argv,
        effort=spec.effort,
        plan=spec.plan,
        purpose=spec.purpose,
        follows=spec.follows,
        controller=local_host(),
        boot_id=records.boot_id(),
        pid=os.getpid(),
    )


def resumed() -> events.JobResumed:
    """Return what this process writes first where it goes on with a job."""
    return events.JobResumed(
        farm_version=__version__,
        controller=local_host(),
        boot_id=records.boot_id(),
        pid=os.getpid(),
    )


def artifacts(folder: Path, journal: Path) -> Iterator[events.Artifact]:
    """Yield the files in a job's folder as they are now, for the journal at ``journal``."""
    topologies = sorted(folder.glob("topology-*.json"))
    for path, kind in (
        (folder / "console.log", "console"),
        (folder / "console.raw", "console_raw"),
        *((one, "topology") for one in topologies),
        *((one, EXTERNAL) for one in sorted((folder / EXTERNAL).glob("*"))),
    ):
        if not path.is_file():
            continue
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        relative = os.path.relpath(path, journal.absolute().parent)
        yield events.Artifact(name=path.name, path=relative, sha256=digest, kind=kind)


def close(spec: JobSpec, reason: str, *, lost: bool = False) -> None:
    """End the journal of a job whose worker cannot do so any more.

    Without a ``reason`` all its tests have their verdicts; ``lost`` is as in
    :class:`farm.events.JobFinished`.

    Raises:
        JournalError: somebody else writes it, it is damaged, or cannot be written.
    """
    with JournalWriter.resume(spec.journal) as journal:
        if journal.empty:
            journal.write(started(spec))
        for event in artifacts(spec.folder, spec.journal):
            journal.write(event)
        journal.write(events.JobFinished(ok=not reason, reason=reason, lost=lost))
