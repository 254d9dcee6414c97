"""Failpoints: named places in the code where a test has a process die, stall or find the disk full.

``FARM_FAILPOINT`` arms them, for every process of a run, as words with commas between::

    [BOARD:]POINT[#N]=ACTION

``BOARD`` limits a word to the processes of that board's job (worker, keeper); ``#N`` to the Nth
time that a process comes there (from 1). Actions:

=============== ==================================================================================
``kill``        the process gets SIGKILL
``exit``        it ends at once, with code 86
``delay:S``     it sleeps for S seconds
``hold:FILE``   it makes FILE and goes on once somebody has removed it (or after 120 s)
``enospc``      what it was about to write meets a full disk (points of :data:`WRITES` only)
=============== ==================================================================================

Unset, a point costs one comparison. ``docs/farm.md`` says what comes of a death at each.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.errors import UsageError

VARIABLE = "FARM_FAILPOINT"

EXIT_CODE = 86
"""Exit code of a process that a failpoint ended."""

HOLD_S = 120.0
"""How long a process is held, at most."""

_POLL_S = 0.02

JOURNALED = (
    "job_started", "job_resumed", "plan", "waiting", "placed", "leased", "booting", "board_ready",
    "ready",
    "running", "rebooting", "case_started", "case_finished", "case_blamed", "complaint", "artifact",
    "off", "released", "job_finished",
)  # fmt: skip
"""What a journal announces: states by their names, other events by their types."""

_JOURNAL = {
    f"journal.{name}.{when}": f"{name} is {said} the journal"
    for name in JOURNALED
    for when, said in (("before", "about to be written to"), ("after", "in"))
}

_NAMED = {
    "controller.placed": "boards are chosen, nothing is written",
    "controller.record": "the run's record is about to be written",
    "controller.recorded": "it is on disk, nothing of the jobs is",
    "controller.specs": "the jobs' specifications are about to be written, no worker runs",
    "controller.spawned": "a worker was started",
    "controller.heard": "a journal told something new",
    "controller.ended": "a job is over",
    "controller.finished": "all jobs are over",
    "controller.freed": "what dead jobs held is free",
    "controller.kept": "the store has the results, the report is written",
    "controller.forgotten": "the run's record is gone",
    "telling.record": "how far telling people of a night came is about to be written down",
    "telling.recorded": "that they are to be told is on disk, nobody was",
    "telling.begun": "that somebody is being told is on disk, nothing was sent",
    "telling.sent": "it was sent, or could not be; that is not on disk",
    "telling.marked": "it is on disk",
    "resume.claimed": "a dead controller's run is ours to finish",
    "resume.alone": "none of its workers or keepers is left",
    "resume.prepared": "its jobs are to go on, in writing",
    "worker.started": "a worker has its job, and no journal yet",
    "worker.asked": "a worker was asked to stop, and has interrupted itself",
    "worker.ending": "the job's tests are over, its board is still held",
    "keeper.started": "a keeper has its request",
    "keeper.reserved": "the place is reserved or waited for",
    "keeper.allocated": "the place is set aside for us",
    "keeper.record": "the lease's record is about to be written",
    "keeper.recorded": "the lease's record is on disk, the place is not taken yet",
    "keeper.acquired": "the place is ours, without a heartbeat",
    "keeper.leased": "the heartbeat is there, the worker was told",
    "keeper.beat": "the heartbeat is about to be renewed",
    "keeper.ending": "the lease is about to end",
    "keeper.released": "the place is free, the lease's record is still there",
    "keeper.forgotten": "the record is gone, nobody was told",
    "lease.off": "a board whose lease ends is off, its place still held",
    "lease.untagged": "the heartbeat is gone, the place still held",
    "lease.cancelled": "the reservation is gone, the place still held",
}  # fmt: skip

POINTS: Mapping[str, str] = {**_NAMED, **_JOURNAL}
"""Every failpoint, and what has or has not happened where it is."""

WRITES = frozenset(
    {"controller.specs", "controller.record", "keeper.record", "telling.record"}
    | {name for name in _JOURNAL if name.endswith(".before")}
)
"""Those that stand before something is written to the disk."""

_WORD = re.compile(
    r"(?:(?P<board>[^:=,#]+):)?(?P<point>[a-z_.]+)(?:#(?P<turn>[1-9]\d{0,5}))?"
    r"=(?P<action>kill|exit|enospc|delay:(?P<seconds>\d{1,4}(?:\.\d+)?)|hold:(?P<file>[^,]+))"
)


@dataclass(frozen=True, slots=True)
class Failpoint:
    """One armed failpoint; ``board`` and ``turn`` are empty and 0 where they do not limit it."""

    point: str
    action: Callable[[], None]
    board: str = ""
    turn: int = 0


def parse(text: str) -> tuple[Failpoint, ...]:
    """Return the failpoints that ``FARM_FAILPOINT`` asks for.

    Raises:
        UsageError: a word is of another form, names no point, or fills a disk nobody writes to.
    """
    return tuple(_parse(word.strip()) for word in text.split(",") if word.strip())


def _parse(word: str) -> Failpoint:
    match = _WORD.fullmatch(word)
    if match is None:
        raise UsageError(
            f"{VARIABLE}: {word!r} is no failpoint",
            next_step="expected [BOARD:]POINT[#N]=kill, exit, delay:S, hold:FILE or enospc",
        )
    if match["point"] not in POINTS:
        raise UsageError(
            f"{VARIABLE}: no point {match['point']!r}", next_step="see farm/failpoints.py"
        )
    if match["action"] == "enospc" and match["point"] not in WRITES:
        raise UsageError(f"{VARIABLE}: nothing is written at {match['point']!r}")
    return Failpoint(
        match["point"], _action(match), match["board"] or "", int(match["turn"] or "0")
    )


def _action(match: re.Match[str]) -> Callable[[], None]:
    if match["seconds"]:
        seconds = float(match["seconds"])
        return lambda: time.sleep(seconds)
    if match["file"]:
        file = Path(match["file"])
        return lambda: _hold(file)
    return {"kill": _kill, "exit": _exit, "enospc": _disk_full}[match["action"]]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(EXIT_CODE)


def _disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _hold(file: Path) -> None:
    file.touch()
    deadline = time.monotonic() + HOLD_S
    while file.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


class Failpoints:
    """The failpoints of one process."""

    def __init__(self, armed: tuple[Failpoint, ...]) -> None:
        """Arm some."""
        self.board = ""
        """The board that this process is about, or empty."""
        self._armed = armed
        self._turns: dict[str, int] = {}
        self._lock = threading.Lock()

    def hit(self, point: str) -> None:
        """Do what is armed at a point."""
        assert point in POINTS, point
        with self._lock:
            turn = self._turns[point] = self._turns.get(point, 0) + 1
        for one in self._armed:
            if one.point == point and one.board in ("", self.board) and one.turn in (0, turn):
                one.action()


_text = os.environ.get(VARIABLE, "")
_process: Failpoints | None = None


def hit(point: str) -> None:
    """Come to a point; does nothing unless ``FARM_FAILPOINT`` arms it.

    Raises:
        OSError: the point was to find the disk full.
        UsageError: the variable's value is wrong.
    """
    if _text:
        _of_this_process().hit(point)


def check() -> None:
    """Find out at a command's start that ``FARM_FAILPOINT`` is wrong, and not in the midst of it.

    Raises:
        UsageError: it is.
    """
    if _text:
        _of_this_process()


def about(board: str) -> None:
    """Say that this process is about one board: words for other boards are not for it."""
    if _text:
        _of_this_process().board = board


def _of_this_process() -> Failpoints:
    global _process
    if _process is None:
        _process = Failpoints(parse(_text))
    return _process
