"""The journal's one writer: append-only, numbered, on disk before what it announces happens."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from farm import events, failpoints
from farm.errors import JournalError
from farm.run.interrupts import uninterrupted

_DURABLE = (
    events.JobStarted,
    events.JobResumed,
    events.Plan,
    events.StateChanged,
    events.Placed,
    events.BoardReady,
    events.CaseFinished,
    events.JobFinished,
)
"""Events that are on the disk, not only with the kernel, before ``write`` returns."""


class JournalWriter:
    """Appends events to one journal; it holds the file alone until :meth:`close`."""

    def __init__(self, path: Path, descriptor: int, seq: int, clock: Callable[[], float]) -> None:
        """Use :meth:`create` or :meth:`open`; ``seq`` is the next event's number."""
        self.path = path
        self._descriptor = descriptor
        self._seq = seq
        self._clock = clock

    @property
    def empty(self) -> bool:
        """Whether the journal holds no event yet."""
        return self._seq == 0

    @classmethod
    def create(cls, path: Path, *, clock: Callable[[], float] = time.time) -> JournalWriter:
        """Begin a journal in a file that does not exist yet; its folder is made.

        Raises:
            JournalError: the file exists, or cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalError(f"{path}: cannot be created: {error.strerror}") from error
        cls._lock(path, descriptor)
        _sync_folder(path.parent)
        return cls(path, descriptor, 0, clock)

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> JournalWriter:
        """Go on with a journal after its last whole event; a torn last line is cut off.

        Raises:
            JournalError: there is no such journal, another writer has it, or not one of its lines
                can be read.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError(f"{path}: cannot be opened: {error.strerror}") from error
        cls._lock(path, descriptor)
        try:
            damage = events.Damage()
            count = 0
            for event in events.read_journal(path, damage):
                count = event.seq + 1
            if damage.first and not count:
                raise damage.first
            end = _whole_bytes(descriptor)
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, count, clock)

    @classmethod
    def resume(cls, path: Path, *, clock: Callable[[], float] = time.time) -> JournalWriter:
        """Go on with a journal, or begin it where whoever was to do so has died before.

        Raises:
            JournalError: another writer has it, it is damaged, or cannot be written.
        """
        return (cls.open if path.exists() else cls.create)(path, clock=clock)

    def write(self, event: events.Event) -> None:
        """Append an event; ``seq`` and ``t`` are set here.

        Raises:
            JournalError: the event is too long, or the disk refuses it.
        """
        stamped = event.model_copy(update={"seq": self._seq, "t": self._clock()})
        line = events.encode(stamped).encode() + b"\n"
        where = f"{self.path}:{self._seq + 1}"
        if len(line) > events.MAX_LINE:
            raise JournalError(f"{where}: event of {len(line)} bytes, limit {events.MAX_LINE}")
        point = f"journal.{event.state if isinstance(event, events.StateChanged) else event.type}"
        with uninterrupted():  # a line that is half written, or not counted, ends the journal
            try:
                failpoints.hit(f"{point}.before")
                self._append(line, durable=isinstance(stamped, _DURABLE))
            except OSError as error:
                raise JournalError(f"{where}: cannot be written: {error.strerror}") from error
            self._seq += 1
            failpoints.hit(f"{point}.after")

    def _append(self, line: bytes, *, durable: bool) -> None:
        """Write a line whole or not at all: another one may yet find room."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]
            if durable:
                os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)
            raise

    def close(self) -> None:
        """Sync the journal and let go of it."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> JournalWriter:
        """Return the writer; it is closed at the block's end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the journal."""
        self.close()

    @staticmethod
    def _lock(path: Path, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise JournalError(f"{path}: another writer has it") from error


def _whole_bytes(descriptor: int) -> int:
    """Return the offset behind the last newline."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
