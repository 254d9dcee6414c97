"""What the boards do now: a lab's places, and the jobs of this controller, as far as they are told.

A look asks the coordinator and reads what was written since the last one; it changes nothing, and
a coordinator that does not answer leaves the jobs to be seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import LabError
from farm.lab import explain
from farm.lab.coordinator import Coordinator, local_host
from farm.lab.health import HealthBook
from farm.lab.lease import new_identity
from farm.lab.place import Place
from farm.lab.wanted import TYPE_TAG
from farm.run import joblist
from farm.run.job import JOURNAL
from farm.run.joblist import JobEntry
from farm.run.view import Follower, JobView

CONNECT_S = 3.0
"""How long a coordinator that was lost may take to answer when it is tried again."""
RETRY_S = 5.0
"""How long to wait between two such tries."""


@dataclass
class WatchedJob:
    """A job, and what its journal says so far; the last two serve who tells of it."""

    entry: JobEntry
    view: JobView
    over: bool = False
    findings_told: int = 0
    state_told: str = ""

    @property
    def folder(self) -> Path:
        """Where the job keeps its files."""
        return self.entry.folder


@dataclass(frozen=True, slots=True)
class Row:
    """A board as it is now.

    ``state`` is that of its running job, else ``free``, ``held``, ``reserved``, ``offline``,
    ``quarantined``, or ``gone`` where no lab tells of it. ``note`` says who holds it, or why.
    ``job`` is the running job, else the last one.
    """

    board: str
    board_type: str
    state: str
    note: str
    holder: str
    job: WatchedJob | None

    @property
    def running(self) -> bool:
        """Whether a job of this controller has the board now."""
        return self.job is not None and not self.job.over


@dataclass(frozen=True, slots=True)
class Seen:
    """All boards at one moment; ``trouble`` says why the lab's places are not known, or nothing."""

    rows: tuple[Row, ...]
    trouble: str = ""


@dataclass
class _Follow:
    job: WatchedJob
    follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.follower = Follower(self.job.folder / JOURNAL)

    def look(self) -> None:
        job = self.job
        if job.over:
            return
        alive = job.entry.alive()  # before its last words are read
        for event in self.follower.news():
            job.view.add(event)
        if not alive:
            job.over = True
            job.view.close("" if job.entry.is_check else "its worker is gone")


class Watcher:
    """Looks at the lab at ``address``, or at this controller's jobs alone where it is empty."""

    def __init__(self, address: str, *, only_lab: bool = False) -> None:
        """Connect to the coordinator; ``only_lab`` leaves out jobs of other labs.

        Raises:
            LabError: nothing answers at the address.
        """
        self._address = address
        self._jobs_of = address if only_lab else ""
        self._lab = Coordinator(address, new_identity(local_host())) if address else None
        self._tried = time.monotonic()
        self._followed: dict[tuple[str, str], _Follow] = {}

    def look(self) -> Seen:
        """Return what the boards do now."""
        jobs = self._jobs()
        try:
            places = self._places()
        except LabError as error:
            return Seen(rows({}, jobs, {}, time.time()), error.message)
        book = HealthBook(self._lab.address) if self._lab is not None else None
        sick = {name: book.quarantined(name) or "" for name in places} if book else {}
        address = self._lab.address if self._lab is not None else ""
        return Seen(rows(places, jobs, sick, time.time(), address))

    def close(self) -> None:
        """Let go of the coordinator."""
        if self._lab is not None:
            self._lab.close()

    def _jobs(self) -> list[WatchedJob]:
        """Return jobs that run, those that ended meanwhile, and the last ones of the lab."""
        here = self._lab.address if self._lab is not None else ""
        followed = {}
        for entry in joblist.entries(coordinator=self._jobs_of):
            key = (entry.run, entry.job)
            known = self._followed.get(key)
            if known is not None and known.job.entry == entry:
                followed[key] = known
            elif entry.coordinator == here or entry.alive():
                followed[key] = _Follow(WatchedJob(entry, JobView(entry.board)))
        self._followed = followed
        for one in followed.values():
            one.look()
        return [one.job for one in followed.values()]

    def _places(self) -> Mapping[str, Place]:
        if self._lab is None:
            return {}
        if self._lab.lost.is_set() and time.monotonic() - self._tried >= RETRY_S:
            self._tried = time.monotonic()
            again = Coordinator(self._address, new_identity(local_host()), connect_s=CONNECT_S)
            self._lab.close()
            self._lab = again
        return self._lab.places()


def rows(
    places: Mapping[str, Place],
    jobs: Iterable[WatchedJob],
    sick: Mapping[str, str],
    now: float,
    address: str = "",
) -> tuple[Row, ...]:
    """Return a row for each place of the lab at ``address``, and one for each job elsewhere.

    ``sick`` says why places are quarantined. Boards with a running job come first; a job that is
    over has a row of its own only where no lab tells of its board and no later job has it.
    """
    newest: dict[tuple[str, str], WatchedJob] = {}
    for job in sorted(jobs, key=_weight):
        newest[job.entry.coordinator, job.entry.board] = job
    found = []
    for place in places.values():
        found.append(_row(place, newest.get((address, place.name)), sick.get(place.name, ""), now))
    for (lab, board), job in newest.items():
        if lab == address and board in places:
            continue
        entry = job.entry
        state = "gone" if job.over else _state(job)
        found.append(Row(entry.board, entry.board_type, state, job.view.reason, "", job))
    return tuple(sorted(found, key=lambda row: (not row.running, row.board)))


def _row(place: Place, job: WatchedJob | None, sick: str, now: float) -> Row:
    stands = explain.standing(place, barred=sick or None)
    state = stands.state.value
    note = stands.words(now).removeprefix(state).removeprefix(" by").lstrip(" :")
    if job is not None and not job.over:
        state, note = _state(job), ""
    return Row(place.name, place.tags.get(TYPE_TAG, ""), state, note, place.holder, job)


def _weight(job: WatchedJob) -> tuple[bool, bool, float]:
    """Return what a board's jobs are sorted by: one that runs is last, then the newest of a run."""
    return (not job.over, job.over and not job.entry.is_check, job.entry.began)


def _state(job: WatchedJob) -> str:
    return "checking" if job.entry.is_check else job.view.state
