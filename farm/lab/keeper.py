"""The keeper: a process that holds one place for one job, and lets go when the job's process ends.

Started by :class:`farm.lab.lease.Lease`; see there for the protocol. It renews a heartbeat in the
place's tags, so that every controller can tell a live lease from a dead one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from enum import Enum
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from farm import failpoints
from farm.errors import FarmError, LabError
from farm.lab import records
from farm.lab.coordinator import Coordinator
from farm.lab.explain import standing, summary
from farm.lab.health import HealthBook
from farm.lab.holding import marks
from farm.lab.lease import KeeperNote, LeaseRequest
from farm.lab.processes import leave
from farm.lab.reconcile import BEATS, Heartbeats, end_lease, give_back, lab_vanished
from farm.lab.turn import MAX_PRIORITY
from farm.lab.waiting import OPEN, Turn, Waiter

POLL_S = 1.0
"""How often one who waits looks, in seconds."""

RECONNECT_S = 60.0
"""How long the coordinator may be out of reach before the lease counts as lost."""

RESTART_S = 10.0
"""How long nobody may listen where a coordinator of this machine was, before it counts as gone."""


class _End(Enum):
    """Why a hold ends."""

    IN_ORDER = "the job released it"
    ABANDONED = "the job's process ended, or left the board on"
    LOST = "somebody else ended it"


class _Terminated(Exception):
    """A SIGTERM arrived."""


class Keeper:
    """Holds one place until its job lets go or dies."""

    def __init__(self, request: LeaseRequest, commands: int) -> None:
        """Take the request and the descriptor that the job's commands come from."""
        self.request = request
        self._commands = commands
        self._pending = b""
        self._lab: Coordinator | None = None
        self._held_by: Coordinator | None = None
        """The connection at which the place was last known to be ours."""
        self._place = ""
        self._token = ""
        self._record: Path | None = None
        self._until = 0.0
        self._refusals: dict[str, str] = {}

    def run(self) -> int:
        """Hold the place; return the process's exit code."""
        end = _End.ABANDONED
        try:
            if not self._take():
                return 0
            end = self._hold()
        except _Terminated:
            pass
        except LabError as error:
            kind = "lost" if self._place else "refused"
            _tell(kind, reason=error.message, next_step=error.next_step)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._let_go(end)
        return 0

    def _connect(self) -> Coordinator:
        if self._lab is None or self._lab.lost.is_set():
            self._lab = Coordinator(self.request.coordinator, self.request.identity)
        return self._lab

    def _take(self) -> bool:
        """Wait for a place and acquire it; return False when the job went away meanwhile."""
        lab = self._connect()
        self._write_record(lab)
        if self._has_been_given(lab):
            self._acquire(lab, self.request.place, self.request.token)
            return True
        health = HealthBook(lab.address)
        queue = Waiter(
            lab,
            self.request.rule,
            owner=self.request.owner,
            priority=self.request.priority,
            barred=lambda name: self._barred(name, health),
        )
        try:
            return self._wait(queue, health)
        finally:
            with contextlib.suppress(LabError):  # what is left reserved lapses by itself
                queue.stop()

    def _has_been_given(self, lab: Coordinator) -> bool:
        """Tell whether the place that was had for this job still is: it may have lapsed since."""
        request = self.request
        place = lab.places().get(request.place)
        if place is None or not request.token:
            return False
        return place.holder == request.identity or place.reservation == request.token

    def _wait(self, queue: Waiter, health: HealthBook) -> bool:
        deadline = time.monotonic() + self.request.wait_s
        beats = Heartbeats(quiet_s=BEATS * self.request.beat_s)
        told = ""
        while True:
            lab = self._reconnected()
            try:
                queue.lab = lab
                turn = queue.step()
                failpoints.hit("keeper.reserved")
                if turn is not None and self._has(lab, turn):
                    return True
                for place in beats.stopped(queue.seen):
                    # Whoever has the board next switches it off and on.
                    with contextlib.suppress(LabError):
                        end_lease(lab, place.name, place.holder, place.reservation, board_off=False)
            except LabError:
                if not lab.lost.is_set():
                    raise
                turn = None
            words = self._in_the_way(queue, health)
            if time.monotonic() >= deadline and turn is None:
                longer = "wait longer with --wait, or choose other boards; see: farm boards"
                later = "try again when it is released; see: farm watch"
                raise LabError(words, next_step=longer if self.request.wait_s else later)
            if words != told:
                _tell("waiting", reason=words)
                told = words
            if self._command(POLL_S) is not None:
                return False

    def _has(self, lab: Coordinator, turn: Turn) -> bool:
        """Acquire the place whose turn it is; return False if it refuses and others may do.

        Raises:
            LabError: it refuses, and there is no other.
        """
        try:
            self._acquire(lab, turn.place, turn.token)
        except LabError as error:
            others = [
                place.name
                for place in lab.places().values()
                if self.request.rule.meets(place) and place.name not in self._refusals
            ]
            if lab.lost.is_set() or others == [turn.place]:
                raise
            self._refusals[turn.place] = error.message
            lab.cancel(turn.token)
            self._place, self._token = "", ""
            self._write_record(lab)
            return False
        return True

    def _barred(self, name: str, health: HealthBook) -> str | None:
        """Return why a place is not to be had by this job, whatever its coordinator says."""
        refused = self._refusals.get(name)
        return refused if refused or self.request.for_check else health.quarantined(name)

    def _in_the_way(self, queue: Waiter, health: HealthBook) -> str:
        """Return who or what keeps the job from its place."""
        rule, now = self.request.rule, time.time()
        matching = {name: place for name, place in queue.seen.items() if rule.meets(place)}
        since = health.offline_since({name: one.online for name, one in matching.items()})
        found = [
            standing(
                place,
                barred=self._barred(name, health),
                since=since.get(name, 0.0),
            )
            for name, place in matching.items()
        ]
        if len(rule.names) == 1 and len(found) == 1:
            return f"board {found[0].place.name} is {found[0].words(now)}"
        return f"no free board for {rule}: {summary(found, now)}"

    def _acquire(self, lab: Coordinator, place: str, token: str) -> None:
        failpoints.about(place)
        failpoints.hit("keeper.allocated")
        self._place, self._token = place, token
        self._write_record(lab)
        failpoints.hit("keeper.recorded")
        if lab.place(place).holder != self.request.identity:
            lab.acquire(place)
        self._held_by = lab
        failpoints.hit("keeper.acquired")
        expected = self.request.expected_s
        self._until = time.time() + expected if expected else 0.0
        self._beat(lab)
        _tell("leased", token=token, place=place, tags=dict(lab.place(place).tags))
        failpoints.hit("keeper.leased")

    def _write_record(self, lab: Coordinator) -> None:
        # Written before a place is reserved, and again before one is taken: a record too many is
        # harmless, one too few is not.
        record = records.LeaseRecord(
            coordinator=lab.address,
            place=self._place,
            identity=self.request.identity,
            token=self._token,
            run=self.request.run,
            job=self.request.job,
            **records.this_process(),
        )
        try:
            failpoints.hit("keeper.record")
            self._record = records.write(record)
        except OSError as error:
            raise LabError(
                f"the lease of {self.request.rule} cannot be recorded: {error.strerror}",
                next_step=f"make room on the disk of {records.folder()}",
            ) from error

    # -- holding it

    def _hold(self) -> _End:
        silent: float | None = None  # since when no coordinator answers
        while True:
            if (command := self._pause() if silent is None else self._command(POLL_S)) is not None:
                return command
            try:
                lab = self._connect()
                if lab is not self._held_by and not self._reclaim(lab):
                    continue  # a command has come
                holder = lab.place(self._place).holder
                if holder != self.request.identity:
                    kind = "taken" if holder else "lost"
                    who = holder or "nobody"
                    _tell(kind, reason=f"board {self._place} is now held by {who}")
                    return _End.LOST
                self._held_by = lab
                failpoints.hit("keeper.beat")
                self._beat(lab)
                silent = None
            except LabError as error:
                silent = time.monotonic() if silent is None else silent
                if time.monotonic() - silent >= RECONNECT_S:
                    _tell("lost", reason=error.message, next_step=error.next_step)
                    return _End.LOST

    def _pause(self) -> _End | None:
        """Wait for the next beat, or until the coordinator is gone; return what the job asks."""
        assert self._lab is not None
        until = time.monotonic() + self.request.beat_s
        while (left := until - time.monotonic()) > 0 and not self._lab.lost.is_set():
            if (command := self._command(min(left, POLL_S))) is not None:
                return command
        return None

    def _reconnected(self) -> Coordinator:
        deadline = time.monotonic() + RECONNECT_S
        while True:
            try:
                return self._connect()
            except LabError:
                if time.monotonic() >= deadline or self._command(POLL_S) is not None:
                    raise

    def _reclaim(self, lab: Coordinator, deadline: float | None = None) -> bool:
        """Take our place again after labgrid has forgotten who holds what.

        Its coordinator forgets holds and reservations when it restarts. The board is still ours, in
        the middle of a job, unless somebody else has it by now: reserved at once, so that nobody
        gets in between, and acquired when its exporter is back. Without a ``deadline`` for an end
        the job is heeded; return False if it ended this.
        """
        had = lab.poll(self._token) if self._token else None
        reserved = had is not None and had.state in OPEN
        until = time.monotonic() + RECONNECT_S if deadline is None else deadline
        while time.monotonic() < until:
            place = lab.places().get(self._place)
            if place is not None and place.holder:
                return True
            if place is not None and not reserved:
                self._token = lab.reserve({"name": self._place}, priority=MAX_PRIORITY).token
                self._write_record(lab)
                reserved = True
            if place is not None and place.online and place.reservation in ("", self._token):
                lab.acquire(self._place)
                return True
            if deadline is not None:
                time.sleep(POLL_S)
            elif self._pending or self._command(POLL_S) is not None:
                return False
        return True

    def _beat(self, lab: Coordinator) -> None:
        request = self.request
        lab.set_tags(self._place, marks(request.identity, request.run, request.owner, self._until))

    def _command(self, wait_s: float) -> _End | None:
        """Return what the job asks for, or None if it says nothing for ``wait_s``."""
        if b"\n" not in self._pending:  # what was said while we were busy still counts
            readable, _, _ = select.select([self._commands], [], [], wait_s)
            if not readable:
                return None
            data = os.read(self._commands, 4096)
            if not data:
                return _End.ABANDONED
            self._pending += data
        if b"off\n" in self._pending:
            return _End.ABANDONED
        return _End.IN_ORDER if b"release\n" in self._pending else None

    def _let_go(self, end: _End) -> None:
        failpoints.hit("keeper.ending")
        began = time.monotonic()
        while True:
            try:
                self._end(end, began + RECONNECT_S)
                break
            except FarmError as error:
                gone = lab_vanished(self.request.coordinator)
                patience = RESTART_S if gone else RECONNECT_S
                if self._held_by is not None and time.monotonic() - began < patience:
                    time.sleep(POLL_S)
                    continue
                print(f"{self._place}: {error}", file=sys.stderr)
                if not gone:
                    return  # the record stays, and the next run clears up
                break
        if self._lab is not None:
            self._lab.close()
        failpoints.hit("keeper.released")
        if self._record is not None:
            records.remove(self._record)
        failpoints.hit("keeper.forgotten")
        _tell("released", reason=end.value)

    def _end(self, end: _End, deadline: float) -> None:
        lab = self._connect()
        if end is _End.IN_ORDER:
            give_back(lab, self._place, self.request.identity, self._token)
            return
        if end is _End.ABANDONED and self._held_by not in (None, lab):
            self._reclaim(lab, deadline)  # or the board would stay on
        if self._record is not None:
            end_lease(lab, self._place, self.request.identity, self._token)
        elif self._token:
            lab.cancel(self._token)


def _tell(kind: str, **words: object) -> None:
    note = KeeperNote.model_validate({"kind": kind, **words})
    try:
        sys.stdout.write(note.model_dump_json() + "\n")
        sys.stdout.flush()
    except OSError:
        return  # nobody listens any more


def main() -> int:
    """Run a keeper; its request is the first line of stdin."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    commands = sys.stdin.fileno()
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(commands, 1)  # by the byte: what follows the request belongs to the loop
        if not byte:
            return 0
        line += byte
    try:
        request = LeaseRequest.model_validate_json(line)
    except ValidationError as error:
        print(f"keeper: no lease request: {error}", file=sys.stderr)
        return 2
    failpoints.about(request.place)
    failpoints.hit("keeper.started")
    signal.signal(signal.SIGTERM, terminate)
    return Keeper(request, commands).run()


if __name__ == "__main__":
    leave(main())
