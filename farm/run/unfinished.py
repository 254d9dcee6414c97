"""Runs that are owed: begun by a controller, and their results not all kept, or not all told yet.

One small file per run below ``state_dir()/runs/``, written whole and fsynced before the first
worker starts, and removed when the store has the results and a night's people are told. A lock
beside it is held by the controller that has the run: where nobody holds it, that controller is
dead, on this machine or in an earlier boot of it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm import failpoints, paths
from farm.errors import InfraError
from farm.events import Effort
from farm.lab import durable
from farm.plans import Tell
from farm.run.job import JobSpec

MAX_RECORD = 64 << 20
"""Longest record that is read, in bytes."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OwnLab(_Frozen):
    """The virtual lab that a run brought up for itself: boards by type, and what they boot."""

    boards: dict[str, int]
    image: str = ""
    kernel: Path | None = None
    modules: Path | None = None
    drivers: list[Path] = []


class Asked(_Frozen):
    """What was asked for, as far as it takes to begin it, or to go on with it, later.

    ``coordinator`` is empty where the lab is to be the run's own. ``suites``, ``select``, ``plan``
    and ``part`` are as in :class:`farm.run.plan.Wish`, ``retry_infra`` and ``repeat_new`` as in
    :class:`farm.run.followups.Rules`. ``deadline`` is when the plan's time box ends, in seconds
    since the epoch, None where it has none.
    """

    coordinator: str = ""
    boards: list[str] = []
    match: dict[str, str] = {}
    features: list[str] = []
    image: str = ""
    owner: str = ""
    priority: float = 0.0
    wait_s: float = 0.0
    suites: list[str] = []
    select: dict[str, list[str]] | None = None
    effort: Effort = Effort()
    cached: bool = True
    retry_infra: bool = False
    repeat_new: int = 0
    plan: str = ""
    part: str = ""
    deadline: float | None = None
    argv: list[str] = []


class Part(_Frozen):
    """Jobs that run side by side in one lab, which ends with its controller where it is ``lab``.

    ``asked`` is the place in the record's list of what they are for.
    """

    coordinator: str
    lab: OwnLab | None = None
    jobs: list[JobSpec]
    asked: int = 0


class Mark(StrEnum):
    """How far telling somebody of a night has come."""

    DUE = ""
    BEGUN = "begun"  # a message may have been sent
    TOLD = "told"
    GIVEN_UP = "given up"  # it was tried as often as it is to be


class Telling(_Frozen):
    """A night that is over and that people are to be told of, with a mark for each ``tell``.

    ``kept`` says that the store has its results. ``report`` is the path of the run's report, or
    empty; ``troubles`` kept something of the night from running.
    """

    kept: bool
    report: str
    troubles: list[str]
    marks: list[Mark]

    def marked(self, number: int, mark: Mark) -> Telling:
        """Return how it is once that far with one of them."""
        marks = [*self.marks[:number], mark, *self.marks[number + 1 :]]
        return self.model_copy(update={"marks": marks})


class RunRecord(_Frozen):
    """A run that has begun; ``db`` is where its results go, None for the usual place.

    ``began`` is in seconds since the epoch, ``pid`` the controller's, for people to read.
    ``asked`` is what it is to do, one after the other; ``parts`` is what of it has begun. ``tell``
    is whom a night's plan tells, ``telling`` how far that has come once the night is over.
    """

    v: int = 1
    run: str
    folder: Path
    db: str | None = None
    began: float
    pid: int
    asked: Annotated[list[Asked], Field(min_length=1)] = [Asked()]
    parts: list[Part] = []
    tell: list[Tell] = []
    telling: Telling | None = None

    @property
    def told_only(self) -> bool:
        """Whether people are to be told, and nothing else is left."""
        return self.telling is not None and self.telling.kept

    @property
    def jobs(self) -> list[JobSpec]:
        """Every job of the run, in the order in which they were begun."""
        return [spec for part in self.parts for spec in part.jobs]

    @property
    def plan(self) -> str:
        """The nightly plan that the run is a night of, or empty."""
        return self.asked[0].plan

    def begun(self, asked: int) -> list[Part]:
        """Return what has begun of one thing that was asked for."""
        return [part for part in self.parts if part.asked == asked]


class Claim:
    """What a run owes: written down before it is begun, and this process's until it dies."""

    def __init__(self, record: RunRecord, lock: int | None = None) -> None:
        """Use :meth:`new` or :func:`claim`."""
        self.record = record
        self._lock = lock

    @classmethod
    def new(
        cls,
        run: str,
        folder: Path,
        db: str | None,
        asked: Sequence[Asked],
        tell: Sequence[Tell] = (),
    ) -> Self:
        """Return a claim to a run that owes nothing yet, and is to do all that is ``asked``.

        ``tell`` is whom it is to tell.
        """
        return cls(
            RunRecord(
                run=run,
                folder=folder,
                db=db,
                began=time.time(),
                pid=os.getpid(),
                asked=list(asked),
                tell=list(tell),
            )
        )

    def owe(self, part: Part) -> None:
        """Write down jobs that are about to begin; before that, nothing of them may have.

        Raises:
            InfraError: the record cannot be written.
        """
        record = self.record.model_copy(update={"parts": [*self.record.parts, part]})
        try:
            self._hold()
            failpoints.hit("controller.record")
            self._write(record)
        except OSError as error:
            raise _unwritable(error) from error
        failpoints.hit("controller.recorded")

    def owe_telling(self, telling: Telling) -> None:
        """Write down how far telling people has come, before it goes on.

        Raises:
            InfraError: the record cannot be written.
        """
        try:
            self._hold()
            failpoints.hit("telling.record")
            self._write(self.record.model_copy(update={"telling": telling}))
        except OSError as error:
            raise _unwritable(error) from error

    def disown(self) -> None:
        """Take back what was owed last: it has not begun.

        Raises:
            InfraError: the record cannot be written.
        """
        *parts, _ = self.record.parts
        record = self.record.model_copy(update={"parts": parts})
        if not parts:
            self.forget()
            self.record = record
            return
        try:
            self._write(record)
        except OSError as error:
            raise _unwritable(error) from error

    def forget(self) -> None:
        """Remove the record: nothing is owed any more.

        Raises:
            InfraError: the folder cannot be written.
        """
        try:
            durable.remove(_path(self.record.run))
            _lock_path(self.record.run).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(error) from error
        self.let_go()
        failpoints.hit("controller.forgotten")

    def let_go(self) -> None:
        """Leave the run to whoever wants to finish it; what is owed still is."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _hold(self) -> None:
        if self._lock is None:
            self._lock = durable.lock(_lock_path(self.record.run))
            assert self._lock is not None, "nobody else knows this run yet"

    def _write(self, record: RunRecord) -> None:
        durable.write(_path(record.run), record.model_dump_json(indent=1))
        self.record = record


def claim(run: str) -> Claim | None:
    """Take over a run whose controller is dead; nothing if it lives, or the run is over.

    Raises:
        InfraError: the folder of records cannot be written.
    """
    try:
        lock = durable.lock(_lock_path(run))
    except OSError as error:
        raise _unwritable(error) from error
    if lock is None:
        return None
    record = _read(_path(run))
    if record is None:
        with contextlib.suppress(OSError):
            _lock_path(run).unlink(missing_ok=True)
        os.close(lock)
        return None
    failpoints.hit("resume.claimed")
    return Claim(record, lock)


def every() -> list[RunRecord]:
    """Return every run that is owed, oldest first, whether its controller lives or not."""
    return [record for path in sorted(_folder().glob("*.json")) if (record := _read(path))]


def _folder() -> Path:
    made = paths.state_dir() / "runs"
    made.mkdir(mode=0o700, parents=True, exist_ok=True)  # a database's URL may hold a password
    return made


def _path(run: str) -> Path:
    return _folder() / f"{run}.json"


def _lock_path(run: str) -> Path:
    return _folder() / f"{run}.lock"


def _read(path: Path) -> RunRecord | None:
    """Return a record, or nothing where there is none that can be read."""
    try:
        with path.open("rb") as stream:
            return RunRecord.model_validate_json(stream.read(MAX_RECORD))
    except (OSError, ValidationError):
        return None


def _unwritable(error: OSError) -> InfraError:
    return InfraError(
        f"{_folder()}: the run cannot be recorded: {error.strerror}",
        next_step="make room on its disk: without the record, nobody could clear up after a crash",
    )
