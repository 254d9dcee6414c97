"""A lease: our exclusive hold of a place for one job, which ends by itself if we die.

The place is acquired by a keeper, a process of its own (:mod:`farm.lab.keeper`), tied to ours by a
pipe. However our process ends, the pipe closes; the keeper then switches the board off, releases
the place and exits. What a killed keeper leaves, the next run ends (:mod:`farm.lab.reconcile`).

Protocol: the first line of the keeper's stdin is a :class:`LeaseRequest`, a later line ``release``
ends the lease, ``off`` or end of file ends it and switches the board off. Its stdout carries one
:class:`KeeperNote` a line.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import queue
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from farm.errors import LabError
from farm.lab.wanted import Wanted

OWN_USER = "farm-"
"""How the user part of every identity of ours begins; a person's does not."""

KEEPER_START_S = 30.0
"""How long a keeper may take to say its first word, beyond the time it may wait for the place."""

RELEASE_S = 90.0
"""How long a keeper may take to release: the coordinator grants each exporter resource 10 s."""

LAST_WORD_S = 10.0
"""How long a keeper may take to end once it has nothing left to do."""

BEAT_S = 15.0
"""How often a keeper renews its heartbeat, in seconds."""

MAX_NOTE = 64 << 10

_OWN = re.compile(rf"{OWN_USER}.*-[0-9a-f]{{8}}")


class LeaseRequest(BaseModel):
    """What a keeper is to hold, as whom, for which job and whose.

    That is ``place``, or where that is empty one that is ``wanted``. With ``token`` the place is
    reserved already, or held, by the same identity. ``wait_s`` bounds its waiting; every ``beat_s``
    it renews its heartbeat and looks whether it still holds the place. ``expected_s`` is how long
    the job may be expected to hold it, 0 where nobody knows. ``for_check`` is for who finds out
    whether a board is well: one that is quarantined will do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coordinator: str
    place: str = ""
    wanted: Wanted = Wanted()
    token: str = ""
    identity: str
    run: str
    job: str
    owner: str = ""
    priority: float = 0.0
    expected_s: float = 0.0
    wait_s: float = 0.0
    for_check: bool = False
    beat_s: float = BEAT_S

    @model_validator(mode="after")
    def _something_is_wanted(self) -> Self:
        if not self.place and self.wanted == Wanted():
            raise ValueError("neither a place nor what is wanted of one")
        return self

    @property
    def rule(self) -> Wanted:
        """Which places will do."""
        return Wanted(names=(self.place,)) if self.place else self.wanted


class KeeperNote(BaseModel):
    """One word of a keeper: ``leased`` with token, place and tags, or what went wrong and why.

    ``lost`` leaves open who holds the place now; ``taken`` says that it is somebody else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["waiting", "leased", "refused", "lost", "taken", "released"]
    token: str = ""
    place: str = ""
    tags: dict[str, str] = {}
    reason: str = ""
    next_step: str = ""


def new_identity(host: str) -> str:
    """Return an identity that no other job has."""
    return f"{host}/{OWN_USER}{local_user()}-{secrets.token_hex(4)}"


def local_user() -> str:
    """Return who is logged in, as part of an identity and as an owner's name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid{os.getuid()}"
    return re.sub(r"[^A-Za-z0-9._@+-]", "-", user)[:64]


def is_ours(identity: str) -> bool:
    """Tell whether an identity was made by :func:`new_identity`, here or on another controller."""
    return _OWN.fullmatch(identity.partition("/")[2]) is not None


def environment(request: LeaseRequest, token: str) -> dict[str, str]:
    """Return the variables with which labgrid acts as the lease's holder."""
    host, _, user = request.identity.partition("/")
    return {
        "LG_COORDINATOR": request.coordinator,
        "LG_TOKEN": token,
        "LG_HOSTNAME": host,
        "LG_USERNAME": user,
    }


class Lease:
    """A held place; ``on_lost`` is called from another thread should the hold end without us."""

    def __init__(
        self,
        request: LeaseRequest,
        keeper: subprocess.Popen[bytes],
        on_lost: Callable[[str], None],
    ) -> None:
        """Watch a keeper that was just started; use :meth:`take`."""
        self.request = request
        self.place = request.place
        """The place that is held; empty until one is, where any of several will do."""
        self.tags: dict[str, str] = {}
        """The place's tags when it was leased."""
        self.token = ""
        self.lost = ""
        """Why the hold ended without us, or empty."""
        self.taken = False
        """Whether somebody else holds the place now: its board must be left alone."""
        self._keeper = keeper
        self._on_lost = on_lost
        self._releasing = False
        self._notes: queue.SimpleQueue[KeeperNote | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="lease", daemon=True)
        self._reader.start()

    @classmethod
    def take(
        cls,
        request: LeaseRequest,
        *,
        on_lost: Callable[[str], None],
        log: IO[bytes] | int | None = None,
        kept: Sequence[int] = (),
    ) -> Self:
        """Start a keeper and return once it holds the place.

        ``log`` receives the keeper's stderr; it outlives this process. ``kept`` are descriptors
        that the keeper has as well, to its end: locks that it is part of.

        Raises:
            LabError: the place cannot be had; the message says why.
        """
        keeper = subprocess.Popen(
            [sys.executable, "-m", "farm.lab.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=kept,
            start_new_session=True,  # a Ctrl-C at the terminal must not reach it
        )
        lease = cls(request, keeper, on_lost)
        try:
            lease._write(request.model_dump_json())
            lease._await_hold()
        except BaseException:
            lease.abandon()
            raise
        return lease

    @property
    def keeper_pid(self) -> int:
        """The keeper's process id."""
        return self._keeper.pid

    def environment(self) -> dict[str, str]:
        """Return the variables with which labgrid acts as this lease's holder."""
        return environment(self.request, self.token)

    def release(self, *, board_off: bool = False) -> None:
        """Give the place back; ``board_off`` has the keeper switch the board off before.

        Raises:
            LabError: the keeper did not manage; the next run clears up.
        """
        if self._releasing:
            return
        self._releasing = True
        self._write("off" if board_off else "release")
        while (note := self._next(RELEASE_S)) is not None:
            if note.kind == "released":
                self._stop(LAST_WORD_S)
                return
        self._stop()
        raise LabError(
            f"the lease of {self.place} did not end in order",
            next_step="the next farm run on this machine releases it",
        )

    def abandon(self) -> None:
        """Let go: the keeper switches the board off and releases; return when it is done."""
        self._releasing = True
        self._close()
        try:
            self._keeper.wait(RELEASE_S)
        except subprocess.TimeoutExpired:
            self._stop()

    def _close(self) -> None:
        stream = self._keeper.stdin
        assert stream is not None
        with contextlib.suppress(OSError):  # a dead keeper does not take what is still buffered
            stream.close()

    def _await_hold(self) -> None:
        while True:
            note = self._next(self.request.wait_s + KEEPER_START_S)
            if note is None:
                raise LabError(
                    f"the keeper for {self.request.rule} ended or fell silent before it held it",
                    next_step="its words are in the job's worker.log",
                )
            if note.kind == "leased":
                self.place, self.tags, self.token = note.place, note.tags, note.token
                return
            if note.kind != "waiting":
                raise LabError(note.reason, next_step=note.next_step)

    def _next(self, wait_s: float) -> KeeperNote | None:
        try:
            return self._notes.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _write(self, line: str) -> None:
        stream = self._keeper.stdin
        assert stream is not None
        try:
            stream.write(line.encode() + b"\n")
            stream.flush()
        except OSError:
            return  # the keeper is gone; its stdout tells the rest

    def _read(self) -> None:
        stream = self._keeper.stdout
        assert stream is not None
        lost = ""
        with stream:
            while line := stream.readline(MAX_NOTE):
                try:
                    note = KeeperNote.model_validate_json(line)
                except ValidationError:
                    continue
                if note.kind in ("lost", "taken"):
                    lost = note.reason
                    self.taken = note.kind == "taken"
                self._notes.put(note)
        self._notes.put(None)
        if self.token and not self._releasing:
            self.lost = lost or f"the keeper of {self.place} died"
            self._on_lost(self.lost)

    def _stop(self, patience_s: float = 0.0) -> None:
        """End the keeper's process, at once or if it has not ended by itself in a while."""
        for end, wait_s in (
            (None, patience_s),
            (self._keeper.terminate, LAST_WORD_S),
            (self._keeper.kill, None),
        ):
            if end is not None:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(wait_s)
                break
        self._close()
