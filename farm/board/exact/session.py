"""A session on an exact board: each case has a boot of its own, or its answer is known already."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from farm.board import topology
from farm.board.boot import EXCERPT_LINES, BootFailed
from farm.board.channel import PayloadChannel, run_command
from farm.board.console import BANNERS, ConsoleEvent
from farm.board.exact.archive import archive
from farm.board.exact.cache import Cache
from farm.board.exact.frames import BEGIN, Answer, is_end, unframe
from farm.board.judging import Session
from farm.board.payload import build
from farm.board.recorder import ConsoleRecorder
from farm.board.result import BoardHung, CaseResult, CommandFailed
from farm.errors import BoardError, LinkLost, UsageError

_SERVE = "exec /farm/payload serve < /farm/input\n"
_HARNESS_CASES = "payload/selftest.c"
_POLL_S = 0.25
_PARSE_S = 60.0
_SLOWNESS = 5.0
"""Seconds of wall time that a second of the board's time may take."""


class Rig(Protocol):
    """What a session needs of the board."""

    @property
    def console(self) -> ConsoleRecorder:
        """The recording of its console."""

    def boot_with(self, archive: bytes) -> int:
        """Power-cycle it with an archive; return the console's line at power-on."""


class Replay:
    """What a payload said, as a :class:`farm.board.channel.Transport`."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Say these lines, whatever is asked."""
        self._data = "".join(f"{line}\n" for line in lines).encode()

    def read(self, timeout: float) -> bytes:
        """Return everything, once."""
        data, self._data = self._data, b""
        if not data:
            raise LinkLost("the payload said no more")
        return data

    def write(self, data: bytes) -> None:
        """Drop what is asked: it was written into the archive."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class _Boot:
    """One boot's answer; ``mark`` is the console's line from which on the command ran."""

    answer: Answer
    mark: int
    cached: str = ""


@dataclass(slots=True, kw_only=True)
class ExactSession(Session):
    """An exact board; :meth:`open` comes first.

    ``boots`` counts the times that it was switched on, ``failures`` those that came to nothing.
    """

    rig: Rig
    cache: Cache
    boots: int = 0
    failures: int = 0
    _programs: dict[str, bytes] = field(default_factory=dict)

    def open(self) -> None:
        """Find out which counters the board has, and what it is made of.

        Raises:
            BoardError: it does not boot, or does not answer.
        """
        lines = [self._counters(), "facts", "topology", "quit"]
        packed = archive(self._program(_HARNESS_CASES), _SERVE, _text(lines))
        look = self._answer("the first look", packed, self.limits.command_s, ())
        channel = PayloadChannel(Replay(look.answer.lines))
        channel.start(_PARSE_S)
        self._note_absent(channel.counters(self._specs(), _PARSE_S))
        self.facts = channel.facts(_PARSE_S)
        self.topology = topology.parse(channel.topology(_PARSE_S))
        self.alive = True

    def close(self, why: str = "") -> None:
        """Do nothing: the next boot starts from scratch anyway."""

    def command(self, text: str) -> str:
        """Boot the board, run a shell command, and return what it printed."""
        __tracebackhide__ = True
        packed = archive(self._program(_HARNESS_CASES), f"{text}\n")
        answer = self._answer(f"command {text[:80]!r}", packed, self.limits.command_s, ()).answer
        said = "\n".join(answer.lines)
        if answer.status:
            failed = f"the board's command {text[:80]!r} ended with status {answer.status}"
            raise CommandFailed(f"{failed}: {said[-300:]}")
        return f"{said}\n" if said else ""

    def run(
        self,
        case: str,
        params: Mapping[str, str],
        *,
        timeout_s: float | None = None,
        tolerate: Sequence[str] = (),
    ) -> CaseResult:
        """Boot the board with a payload of the case's file, and run the case."""
        __tracebackhide__ = True
        listed = self.payload.case(case)
        if listed is None:
            raise UsageError(f"the payload has no case {case!r}")
        self.ledger.begin(tolerate)
        limit = self._limit(case, timeout_s)
        timeout_ms = int(limit * 1000)
        lines = [self._counters(), run_command("1", timeout_ms, case, params), "quit"]
        packed = archive(self._program(listed.file), _SERVE, _text(lines))
        boot = self._answer(f"case {case}", packed, limit, tolerate)
        channel = PayloadChannel(Replay(boot.answer.lines))
        channel.start(_PARSE_S)
        channel.counters(self._specs(), _PARSE_S)
        block = channel.run(case, params, timeout_ms=timeout_ms, grace=_PARSE_S)
        return replace(self._judge(block, boot.mark, tolerate), cached=boot.cached)

    def _program(self, file: str) -> bytes:
        """Return the payload that holds the cases of one file and no other."""
        if file not in self._programs:
            self._programs[file] = build(only=file).path.read_bytes()
        return self._programs[file]

    def _counters(self) -> str:
        return " ".join(["counters", *self._specs()])

    def _answer(self, what: str, packed: bytes, limit_s: float, tolerate: Sequence[str]) -> _Boot:
        """Return the answer to an archive, from the cache or from a boot."""
        __tracebackhide__ = True
        kept = self.cache.get(packed)
        if kept is not None:
            return _Boot(kept.answer, self.console.mark(), kept.made)
        boot = self._boot_again(what, packed, limit_s, tolerate)
        if not self.console.events_since(boot.mark):
            self.cache.put(packed, boot.answer)
        return boot

    def _boot_again(
        self, what: str, packed: bytes, limit_s: float, tolerate: Sequence[str]
    ) -> _Boot:
        """Boot, and once more where the board does not come up: the machine may be busy."""
        __tracebackhide__ = True
        for last in (False, True):
            self.boots += 1
            try:
                return self._boot(what, packed, limit_s, tolerate)
            except BoardError as error:
                self.failures += 1
                if last or not isinstance(error, BootFailed):
                    raise
        raise AssertionError("the second boot returns or raises")

    def _boot(self, what: str, packed: bytes, limit_s: float, tolerate: Sequence[str]) -> _Boot:
        __tracebackhide__ = True
        console = self.rig.console
        power_on = self.rig.boot_with(packed)
        self.ledger.power_on(power_on)
        began = None
        try:
            began = self._await_begin(console, power_on)
        finally:
            self.ledger.excuse(console.mark() if began is None else began)
        deadly = self.ledger.unjudged(tolerate)
        deadline = time.monotonic() + limit_s * _SLOWNESS
        while True:
            ended = console.wait_line(began, is_end, _POLL_S)
            event = next((one for one in console.events_since(began) if deadly(one)), None)
            if event is not None and ended is None:
                console.wait_quiet(0.5, 5.0)
                raise self._death(began, event)
            if ended is not None:
                return _Boot(unframe(console.since(began)), began)
            if time.monotonic() > deadline:
                raise BoardHung(f"{what}: no end within {limit_s * _SLOWNESS:g} s")

    def _await_begin(self, console: ConsoleRecorder, power_on: int) -> int:
        """Return the number of the line after which the command runs."""
        deadline = time.monotonic() + self.limits.boot_s
        while True:
            begin = console.wait_line(power_on, lambda line: line == BEGIN, _POLL_S)
            if begin is not None:
                return begin + 1
            deadly = [one for one in console.events_since(power_on) if self._kills_boot(one)]
            if deadly:
                console.wait_quiet(0.3, 3.0)
                raise BootFailed(
                    f"the kernel died while it booted: {deadly[0].line.strip()}",
                    console.tail(EXCERPT_LINES),
                )
            if time.monotonic() > deadline:
                raise BootFailed(
                    f"no sign of the payload within {self.limits.boot_s:g} s of power-on",
                    console.tail(EXCERPT_LINES),
                )

    @staticmethod
    def _kills_boot(event: ConsoleEvent) -> bool:
        return event.fatal and event.pattern not in BANNERS


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
