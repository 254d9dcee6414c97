"""A session: a booted board, its payload pushed, its channel and counters open.

:meth:`BoardSession.run` tells apart what may end a case. A block that is whole is the case's own
word, unless the kernel complained meanwhile. A kernel that died is the case's failure. A link that
was lost, a stream that was garbled and a silence that nothing explains are the board's.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farm.board import topology
from farm.board.channel import PayloadChannel, Silence, Transport
from farm.board.judging import Session
from farm.board.kmemleak import KMEMLEAK, PATTERN, MemoryLeaks
from farm.board.noconsole import NoConsole
from farm.board.result import BoardHung, CaseComplaint, CaseResult, CommandFailed
from farm.board.ssh import MAX_OUTPUT, CommandOutput
from farm.errors import BoardError, LinkLost, ProtocolError

FOLDER = "/tmp/farm"
"""Where payloads lie on a board, each under its content hash."""
GRACE_S = 15.0
"""How long after a case's own limit its block may take; a board that is silent for longer hangs."""
EXPLAIN_S = 5.0
"""How long the console may take to explain why the link closed: a panic closes the link first."""
_PUSH_S = 120.0
_SETTLE_S = 0.1
_KILL_S = 20.0
_KILLED = 128 + 9
_KERNEL_TIME = re.compile(r"\[ *\d+\.\d+\] ?(\[ *[TC]\d+\] )?")


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What a program on the board printed, and how it ended.

    ``stopped_s`` is the time limit at which it was killed, 0 where it ended by itself;
    ``truncated`` says that it printed more than is kept; ``complaint`` is what the kernel
    complained about meanwhile.
    """

    stdout: str
    stderr: str
    status: int
    spent_s: float
    stopped_s: float = 0.0
    truncated: bool = False
    complaint: CaseComplaint | None = None


class Link(Protocol):
    """What a session needs of the connection to its board."""

    def run(
        self, command: str, *, timeout: float, stdin: Iterator[bytes] | None = None
    ) -> CommandOutput:
        """Run a shell command."""

    def put(
        self,
        source: Path,
        destination: str,
        *,
        timeout: float,
        mode: int = 0o644,
        parents: bool = False,
    ) -> bool:
        """Copy a file to the board, unless it is there; return whether it had to be sent."""

    def open_channel(self, argv: Sequence[str]) -> Transport:
        """Start a program."""


@dataclass(slots=True, kw_only=True)
class BoardSession(Session):
    """A booted board that is talked to over a link; :meth:`open` comes first.

    ``pushed`` says whether the payload's bytes had to be sent.
    """

    link: Link
    pushed: bool = False
    _channel: PayloadChannel | None = None

    def open(self) -> None:
        """Push the payload, start it, open the counters, and look at the board.

        Raises:
            BoardError: any of these failed.
        """
        limit = self.limits.command_s
        channel = PayloadChannel(self.link.open_channel([self.push(), "serve"]))
        self._channel = channel
        channel.start(limit)
        self._note_absent(channel.counters(self._specs(), limit))
        self.facts = channel.facts(limit)
        self.topology = topology.parse(channel.topology(limit))
        if KMEMLEAK in self.facts:
            self._watch_memory(channel)
        self.alive = True

    def close(self, why: str = "") -> None:
        """Let go of the payload; ``why`` says what ended the session early."""
        self.alive = False
        self.ended = self.ended or why
        if self._channel is not None:
            self._channel.close()

    def push(self) -> str:
        """Copy the payload to the board, unless its bytes are there; return its path.

        Raises:
            BoardError: it could not be written, or the board was lost.
        """
        program = f"{FOLDER}/payload-{self.payload.sha256[:16]}"
        self.pushed = self.link.put(
            self.payload.path, program, timeout=_PUSH_S, mode=0o755, parents=True
        )
        return program

    def command(self, text: str) -> str:
        """Run a shell command and return what it printed.

        Raises:
            CommandFailed: it ended with another status than 0.
            CaseComplaint: the kernel died meanwhile.
            BoardError: it took over ``limits.command_s``, or the link was lost.
        """
        __tracebackhide__ = True
        try:
            done = self.link.run(text, timeout=self.limits.command_s)
        except LinkLost as error:
            explained = self._explain(f"command {_short(text)}", error, ())
            self.close(str(explained))
            raise explained from None
        self.console.wait_quiet(_SETTLE_S, 1.0)  # a complaint comes on another way than the answer
        if done.status != 0:
            raise CommandFailed(_command_failure(text, done))
        return done.stdout.decode("utf-8", errors="backslashreplace")

    def install(self, archive: Path, digest: str) -> str:
        """Unpack a ``tar.gz`` on the board, unless it is there, and return its folder.

        ``digest`` is the archive's SHA-256.

        Raises:
            BoardError: the board has no room or no ``tar``, or was lost.
        """
        folder = f"{FOLDER}/bundle-{digest[:16]}"
        if "whole" in self._checked(f"[ ! -e {folder}/.whole ] || echo whole"):
            return folder
        packed = f"{folder}.tar.gz"
        self.link.put(archive, packed, timeout=_PUSH_S)
        text = (
            f"rm -rf {folder} && mkdir {folder} && tar -xzf {packed} -C {folder} && "
            f"rm {packed} && : > {folder}/.whole"
        )
        done = self.link.run(text, timeout=_PUSH_S)
        if done.status != 0:
            raise BoardError(_command_failure(text, done))
        return folder

    def program(self, command: str, *, timeout_s: float) -> ProgramRun:
        """Run a program that may fail, print at length or never end.

        What the kernel says meanwhile is looked for on the console and in its log, and so is what
        the program leaves behind, as after a case.

        Raises:
            CaseComplaint: the kernel died.
            BoardHung: the program could not be killed, or the board fell silent.
            LinkLost: the link closed, with nothing on the console.
        """
        __tracebackhide__ = True
        if self._channel is None or not self.alive:
            raise LinkLost(f"program {_short(command)}: the session has ended")
        mark = self.ledger.begin(())
        token = f"farm: program {secrets.token_hex(8)}"
        limit = max(1, round(timeout_s * self.limits.slowness))
        what = f"program {_short(command)}"
        try:
            self._checked(f"echo {shlex.quote(token)} > /dev/kmsg")
            self._channel.evidence_begin(self.limits.command_s)
            began = time.monotonic()
            done = self.link.run(
                f"timeout -s KILL {limit} sh -c {shlex.quote(command)}", timeout=limit + _KILL_S
            )
            spent = time.monotonic() - began
            left = self._channel.evidence_end(self.limits.command_s)
            log = self._checked("dmesg")
        except LinkLost as error:
            explained = self._explain(what, error, ())
            self.close(str(explained))
            raise explained from None
        except BoardError as error:
            self.close(str(error))
            raise BoardHung(f"{what}: {error}") from None
        said = [_KERNEL_TIME.sub("", line, 1) for line in log.rpartition(token)[2].splitlines()]
        self.console.wait_quiet(_SETTLE_S, 1.0)
        complaint = self._complaint([*left, *said], mark)
        killed = done.status == _KILLED and spent >= limit
        return ProgramRun(
            stdout=done.stdout.decode("utf-8", errors="backslashreplace"),
            stderr=done.stderr.decode("utf-8", errors="backslashreplace"),
            status=done.status,
            spent_s=spent,
            stopped_s=float(limit) if killed else 0.0,
            truncated=MAX_OUTPUT in (len(done.stdout), len(done.stderr)),
            complaint=complaint,
        )

    def run(
        self,
        case: str,
        params: Mapping[str, str],
        *,
        timeout_s: float | None = None,
        tolerate: Sequence[str] = (),
    ) -> CaseResult:
        """Run a payload case.

        ``tolerate`` names complaint patterns that the case provokes on purpose.

        Raises:
            CaseComplaint: the kernel died, or complained while the case passed.
            BoardHung: the case was silent beyond its limit, with nothing on the console.
            LinkLost: the link closed, with nothing on the console.
            ProtocolError: the stream was garbled.
        """
        __tracebackhide__ = True
        if self._channel is None or not self.alive:
            raise LinkLost(f"case {case}: the session has ended")
        limit = self._limit(case, timeout_s)
        mark = self.ledger.begin(tolerate)
        if self.memory is not None and PATTERN in tolerate:
            self.memory.tolerate()
        deadly = self.ledger.unjudged(tolerate)

        def watch() -> None:
            if any(map(deadly, self.console.events_since(self.ledger.seen))):
                raise LinkLost("the kernel died")

        try:
            block = self._channel.run(
                case, params, timeout_ms=int(limit * 1000), grace=GRACE_S, watch=watch
            )
        except (LinkLost, ProtocolError) as error:
            explained = self._explain(f"case {case}", error, tolerate)
            self.close(str(explained))
            raise explained from None
        return self._judge(block, mark, tolerate)

    def _explain(self, what: str, error: BoardError, tolerate: Sequence[str]) -> Exception:
        if isinstance(self.console, NoConsole) and isinstance(error, LinkLost):
            state = "still answers" if self._answers() else "is silent, too"
            return BoardHung(f"{what}: {error}; the board {state}, and has no console to say why")
        patience = EXPLAIN_S if type(error) is LinkLost else 0.5
        event = self.console.wait_event(self.ledger.seen, self.ledger.unjudged(tolerate), patience)
        if event is not None:
            self.console.wait_quiet(0.5, EXPLAIN_S)
            return self._death(self.ledger.seen, event)
        if isinstance(error, Silence):
            state = "still answers" if self._answers() else "is silent, too"
            return BoardHung(f"{what}: {error}; the board {state}")
        if isinstance(error, LinkLost):
            return LinkLost(f"{what}: {error}; the console says nothing about it")
        return error

    def _watch_memory(self, channel: PayloadChannel) -> None:
        def run(text: str, timeout: float) -> str:
            return self._checked(text, timeout)

        def jiffies() -> int:
            return channel.jiffies(self.limits.command_s)

        memory = MemoryLeaks(run, jiffies, self.ledger.known)
        try:
            memory.open()
        except LinkLost:
            raise
        except BoardError as error:
            self.absent[KMEMLEAK] = str(error)
        else:
            self.ledger.leave_out(PATTERN)
            self.memory = memory

    def _answers(self) -> bool:
        try:
            return self.link.run("true", timeout=EXPLAIN_S).status == 0
        except BoardError:
            return False

    def _checked(self, text: str, timeout: float = 0.0) -> str:
        done = self.link.run(text, timeout=timeout or self.limits.command_s)
        if done.status != 0:
            raise BoardError(_command_failure(text, done))
        return done.stdout.decode("utf-8", errors="backslashreplace")


def _command_failure(text: str, done: CommandOutput) -> str:
    said = done.stderr[:300].decode("utf-8", errors="backslashreplace").strip()
    return f"the board's command {_short(text)} ended with status {done.status}: {said}"


def _short(text: str) -> str:
    lines = text.strip().splitlines() or [""]
    return repr(lines[0][:80])
