"""The keeper: a process that holds one place for one job, and lets go when the job's process ends.

Started by :class:`farm.lab.lease.Lease`; see there for the protocol. It renews a heartbeat in the
place's tags, so that every controller can tell a live lease from a dead one.
"""

from __future__ import annotations

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
from farm.lab.lease import KeeperNote, LeaseRequest
from farm.lab.place import ReservationState
from farm.lab.processes import leave
from farm.lab.reconcile import BEAT_TAG, LEASE_TAG, end_lease, give_back, lab_vanished

POLL_S = 1.0
"""How often a waiting reservation is looked at."""

RECONNECT_S = 60.0
"""How long the coordinator may be out of reach before the lease counts as lost."""


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
        self._token = ""
        self._record: Path | None = None

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
            kind = "lost" if self._record else "refused"
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
        """Reserve and acquire; return False when the job went away meanwhile."""
        lab = self._connect()
        place = lab.place(self.request.place)
        if not place.online:
            missing = ", ".join(place.missing) or "resources that are unavailable"
            raise LabError(
                f"board {place.name} is offline: {missing}",
                next_step="start its exporter, or choose another board; see: farm boards",
            )
        self._token = lab.reserve({"name": self.request.place}).token
        failpoints.hit("keeper.reserved")
        deadline = time.monotonic() + self.request.wait_s
        while lab.poll(self._token).state is not ReservationState.ALLOCATED:
            holder = lab.place(self.request.place).holder or "another reservation"
            if time.monotonic() >= deadline:
                raise LabError(
                    f"board {self.request.place} is held by {holder}",
                    next_step="wait for its release, or choose another board; see: farm boards",
                )
            _tell("waiting", reason=f"held by {holder}")
            if self._command(POLL_S) is not None:
                return False
        failpoints.hit("keeper.allocated")
        # Written before the place is taken: a record too many is harmless, one too few is not.
        self._record = self._recorded(
            records.LeaseRecord(
                coordinator=lab.address,
                place=self.request.place,
                identity=self.request.identity,
                token=self._token,
                run=self.request.run,
                job=self.request.job,
                **records.this_process(),
            )
        )
        failpoints.hit("keeper.recorded")
        lab.acquire(self.request.place)
        failpoints.hit("keeper.acquired")
        self._beat(lab)
        _tell("leased", token=self._token)
        failpoints.hit("keeper.leased")
        return True

    def _recorded(self, record: records.LeaseRecord) -> Path:
        try:
            failpoints.hit("keeper.record")
            return records.write(record)
        except OSError as error:
            raise LabError(
                f"the lease of {record.place} cannot be recorded: {error.strerror}",
                next_step=f"make room on the disk of {records.folder()}",
            ) from error

    def _hold(self) -> _End:
        while True:
            command = self._command(self.request.beat_s)
            if command is not None:
                return command
            try:
                lab = self._reconnected()
                holder = lab.place(self.request.place).holder
                if holder != self.request.identity:
                    kind = "taken" if holder else "lost"
                    who = holder or "nobody"
                    _tell(kind, reason=f"board {self.request.place} is now held by {who}")
                    return _End.LOST
                failpoints.hit("keeper.beat")
                self._beat(lab)
            except LabError as error:
                _tell("lost", reason=error.message, next_step=error.next_step)
                return _End.LOST

    def _reconnected(self) -> Coordinator:
        deadline = time.monotonic() + RECONNECT_S
        while True:
            try:
                return self._connect()
            except LabError:
                if time.monotonic() >= deadline or self._command(POLL_S) is not None:
                    raise

    def _beat(self, lab: Coordinator) -> None:
        lab.set_tags(
            self.request.place,
            {LEASE_TAG: self.request.identity, BEAT_TAG: str(int(time.time()))},
        )

    def _command(self, wait_s: float) -> _End | None:
        """Return what the job asks for, or None if it says nothing for ``wait_s``."""
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
        try:
            lab = self._connect()
            if end is _End.IN_ORDER:
                give_back(lab, self.request.place, self.request.identity, self._token)
            elif self._record is not None:
                end_lease(lab, self.request.place, self.request.identity, self._token)
            elif self._token:
                lab.cancel(self._token)
        except FarmError as error:
            print(f"{self.request.place}: {error}", file=sys.stderr)
            if not lab_vanished(self.request.coordinator):
                return  # the record stays, and the next run clears up
        finally:
            if self._lab is not None:
                self._lab.close()
        failpoints.hit("keeper.released")
        if self._record is not None:
            records.remove(self._record)
        failpoints.hit("keeper.forgotten")
        _tell("released", reason=end.value)


def _tell(kind: str, **words: str) -> None:
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
