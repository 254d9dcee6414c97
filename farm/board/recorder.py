"""Console recorder: the one client of a board's serial port, from power-on to power-off.

It writes every line with its wall-clock time to ``console.log`` and every byte to ``console.raw``,
recognises the kernel's complaints, and hands the stream on to whoever connects to its loopback
port. It outlives the port: a port that closes is opened again.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

from farm.board.console import ConsoleEvent, Matcher, Recogniser, escape
from farm.board.fanout import FanOut

KEPT_LINES = 5000
"""Lines kept in memory."""
KEPT_EVENTS = 1000
"""Complaints kept in memory; a board that complains more often has long been told apart."""
PORT_FILE = "console.port"
"""File beside the log that says, as ``host:port``, where the stream can be had while recording."""
MAX_LOG = 256 << 20
"""Bytes after which a recording is cut off, so that a babbling board cannot fill the disk."""


class Port(Protocol):
    """What the recorder needs of a serial port that is open."""

    def read(self) -> bytes:
        """Return what has come, or nothing after a short wait; OSError when the port is gone."""

    def write(self, data: bytes) -> None:
        """Send bytes to the board."""

    def close(self) -> None:
        """Close the port."""


class Console(Protocol):
    """What a session needs of a recording."""

    def mark(self) -> int:
        """Return the number of the next line."""

    def tail(self, count: int) -> list[str]:
        """Return the last lines."""

    def since(self, mark: int) -> list[str]:
        """Return the lines from ``mark`` on that are still in memory."""

    def events_since(self, mark: int) -> list[ConsoleEvent]:
        """Return the complaints from line ``mark`` on."""

    def wait_event(
        self, mark: int, wanted: Callable[[ConsoleEvent], bool], timeout: float
    ) -> ConsoleEvent | None:
        """Return the first wanted complaint from line ``mark`` on, waiting for it if need be."""

    def wait_line(self, mark: int, wanted: Callable[[str], bool], timeout: float) -> int | None:
        """Return the number of the first wanted line from ``mark`` on, waiting if need be."""

    def wait_quiet(self, quiet: float, timeout: float) -> None:
        """Return once the console has been silent for ``quiet`` seconds."""


class ConsoleRecorder:
    """Records a port in a thread of its own until :meth:`stop`."""

    def __init__(
        self,
        open_port: Callable[[], Port],
        folder: Path,
        *,
        patterns: Iterable[tuple[str, str]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare a recording of the port that ``open_port`` opens into ``folder``."""
        self.log = folder / "console.log"
        self.raw = folder / "console.raw"
        self._port_file = folder / PORT_FILE
        self._open_port = open_port
        self._clock = clock
        self._recogniser = Recogniser(Matcher(patterns))
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._events: deque[ConsoleEvent] = deque(maxlen=KEPT_EVENTS)
        self._changed = threading.Condition()
        self._activity = 0
        self._written = 0
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._failure = ""
        self._port: Port | None = None
        self._fanout: FanOut | None = None
        self._thread: threading.Thread | None = None
        self._log_stream: TextIO | None = None
        self._raw_stream: BinaryIO | None = None

    def start(self, timeout: float = 10.0) -> None:
        """Begin to record, and wait until the port is open.

        Raises:
            OSError: the port did not open within ``timeout`` seconds, or no log can be written.
        """
        if self._thread is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_stream = self.log.open("a", encoding="utf-8")
        self._raw_stream = self.raw.open("ab")
        self._written = self.raw.stat().st_size
        self._stop.clear()
        self._connected.clear()
        self._fanout = FanOut(self._to_board)
        with contextlib.suppress(OSError):  # it serves who watches, and no job
            self._port_file.write_text("{}:{}\n".format(*self._fanout.address), encoding="ascii")
        self._thread = threading.Thread(target=self._record, name="console", daemon=True)
        self._thread.start()
        if not self._connected.wait(timeout):
            failure = self._failure or "no answer"
            self.stop()
            raise OSError(f"the console's port did not open within {timeout:g} s: {failure}")

    def stop(self) -> None:
        """End the recording; what was received is in the log by then."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join(timeout=10.0)
        with contextlib.suppress(OSError):
            self._port_file.unlink(missing_ok=True)
        if self._fanout is not None:
            self._fanout.close()
            self._fanout = None
        with self._changed:
            self._take(*self._recogniser.flush())
            for stream in (self._log_stream, self._raw_stream):
                if stream is not None:
                    stream.close()
            self._log_stream = self._raw_stream = None

    @property
    def running(self) -> bool:
        """Whether a recording is going on."""
        return self._thread is not None

    @property
    def address(self) -> tuple[str, int]:
        """Loopback address at which the stream is handed on."""
        if self._fanout is None:
            raise OSError("the console is not being recorded")
        return self._fanout.address

    def note(self, text: str) -> None:
        """Write a line of our own into the log, as when power is switched."""
        with self._changed:
            self._log(f"-- {text} --")

    def mark(self) -> int:
        """Return the number of the next line."""
        with self._changed:
            return self._recogniser.line_number

    def tail(self, count: int) -> list[str]:
        """Return the last lines, with the one that has not ended yet."""
        with self._changed:
            lines = list(self._lines)
            if self._recogniser.partial:
                lines.append(self._recogniser.partial)
        return lines[-count:] if count > 0 else []

    def since(self, mark: int) -> list[str]:
        """Return the lines from ``mark`` on that are still in memory."""
        with self._changed:
            first = self._recogniser.line_number - len(self._lines)
            return list(self._lines)[max(0, mark - first) :]

    @property
    def events(self) -> list[ConsoleEvent]:
        """All complaints that are still in memory."""
        return self.events_since(0)

    def events_since(self, mark: int) -> list[ConsoleEvent]:
        """Return the complaints from line ``mark`` on."""
        with self._changed:
            return [event for event in self._events if event.line_number >= mark]

    def wait_line(self, mark: int, wanted: Callable[[str], bool], timeout: float) -> int | None:
        """Return the number of the first wanted line from ``mark`` on, waiting if need be."""
        looked = mark
        hit: int | None = None

        def found() -> bool:
            nonlocal looked, hit
            first = self._recogniser.line_number - len(self._lines)
            start = max(looked, first)
            fresh = itertools.islice(self._lines, start - first, None)
            hit = next((number for number, line in enumerate(fresh, start) if wanted(line)), None)
            looked = self._recogniser.line_number
            return hit is not None

        with self._changed:
            self._changed.wait_for(found, timeout)
        return hit

    def wait_event(
        self, mark: int, wanted: Callable[[ConsoleEvent], bool], timeout: float
    ) -> ConsoleEvent | None:
        """Return the first wanted complaint from line ``mark`` on, waiting for it if need be."""

        def found() -> ConsoleEvent | None:
            for event in self._events:
                if event.line_number >= mark and wanted(event):
                    return event
            return None

        with self._changed:
            return self._changed.wait_for(found, timeout)

    def wait_quiet(self, quiet: float, timeout: float) -> None:
        """Return once nothing came for ``quiet`` seconds, or after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while (left := deadline - time.monotonic()) > 0:
                seen = self._activity

                def moved(seen: int = seen) -> bool:
                    return self._activity != seen

                if not self._changed.wait_for(moved, min(quiet, left)):
                    return

    def _record(self) -> None:
        pause = 0.05
        while not self._stop.is_set():
            # Whatever a port's driver raises: a console that goes unrecorded loses the panic.
            try:
                port = self._open_port()
            except Exception as error:
                self._failure = str(error)
                self._stop.wait(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.05
            self._port = port
            self._connected.set()
            try:
                while not self._stop.is_set():
                    self._received(port.read())
            except Exception as error:
                self.note(f"console port lost: {escape(str(error).encode())}")
            finally:
                self._port = None
                port.close()

    def _received(self, data: bytes) -> None:
        if not data:
            return
        with self._changed:
            self._keep_raw(data)
            self._take(*self._recogniser.feed(data))
            self._activity += 1
            self._changed.notify_all()
        if self._fanout is not None:  # afterwards: what others have read has been recorded
            self._fanout.broadcast(data)

    def _take(self, lines: list[str], events: list[ConsoleEvent]) -> None:
        for line in lines:
            self._log(line)
        self._lines.extend(lines)
        self._events.extend(events)

    def _keep_raw(self, data: bytes) -> None:
        if self._raw_stream is None or self._written >= MAX_LOG:
            return
        try:
            self._raw_stream.write(data)
            self._raw_stream.flush()
        except OSError:
            self._raw_stream = None
            return
        self._written += len(data)
        if self._written >= MAX_LOG:
            self._log(f"-- recording cut off after {MAX_LOG} bytes --")

    def _log(self, line: str) -> None:
        if self._log_stream is None or self._written > MAX_LOG:
            return
        stamp = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        try:
            self._log_stream.write(f"{stamp} {line}\n")
            self._log_stream.flush()
        except OSError:
            self._log_stream = None

    def _to_board(self, data: bytes) -> None:
        port = self._port
        if port is not None:
            with contextlib.suppress(OSError):  # the recording thread sees the loss as well
                port.write(data)
