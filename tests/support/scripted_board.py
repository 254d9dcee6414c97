"""A board that plays a script: payload, console, link and power, all in memory."""

from __future__ import annotations

import contextlib
import hashlib
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from farm.board.console import ConsoleEvent, Recogniser
from farm.board.payload import Payload
from farm.board.ssh import CommandOutput
from farm.errors import BootError, LinkLost

HASH = "0123456789abcdef"
TOPOLOGY = (
    "topology\tboard\tkernel\t6.12.107-arm64\ntopology\tgroup\t0/type\tDMA\n"
    "topology\tgroup\t0/device\t0000:00:01.0\ntopology done\n"
)

Answer = Callable[["ScriptedPayload", str, str], str]
"""From payload, run id and case to the text that the payload sends."""


def block(case: str, run_id: str, result: str = "", outcome: str = "pass", extra: str = "") -> str:
    """Return a whole block; ``result`` is the text after the case's name."""
    ok = "ok" if outcome in ("pass", "skip") else "not ok"
    return (
        f"KTAP version 1\n1..1\n# case name={case} id={run_id} hash={HASH}\n"
        f"# sample name=wall value=5 unit=ns phase=case seq=0\n{extra}"
        f"{ok} 1 {case}{result}\n# outcome {outcome}\n# end id={run_id} samples=1\n"
    )


class ScriptedPayload:
    """A ``payload serve`` in memory; time passes only when nothing is there to be read."""

    def __init__(
        self,
        cases: dict[str, Answer],
        *,
        piece: int = 65536,
        absent: str = "",
        memory: ScriptedMemory | None = None,
    ) -> None:
        self.cases = cases
        self.memory = memory
        self.commands: list[str] = []
        self.now = 0.0
        self.gone = False
        self.leaks: list[str] = []
        self._piece = piece
        self._absent = absent
        self._out = b"payload 1 scripted\n"

    def read(self, timeout: float) -> bytes:
        if self._out:
            data, self._out = self._out[: self._piece], self._out[self._piece :]
            return data
        if self.gone:
            raise LinkLost("scripted: the channel closed")
        self.now += timeout
        return b""

    def write(self, data: bytes) -> None:
        if self.gone:
            raise LinkLost("scripted: the channel closed")
        for line in data.decode().splitlines():
            self.commands.append(line)
            self._out += self._answer(line.split()).encode()

    def close(self) -> None:
        self.gone = True

    def clock(self) -> float:
        return self.now

    def _answer(self, words: list[str]) -> str:
        if words[0] == "ping":
            return f"pong {words[1]}\n"
        if words[0] == "facts":
            found = "fact kmemleak yes\n" if self.memory else ""
            return f"fact machine aarch64\n{found}facts done\n"
        if words[0] == "jiffies" and self.memory:
            return f"jiffies {self.memory.tick()}\n"
        if words[0] == "evidence":
            told = [f"# leak {leak}\n" for leak in self.leaks if words[1] == "end"]
            return "".join(told) + "evidence done\n"
        if words[0] == "topology":
            return TOPOLOGY
        if words[0] == "counters":
            told = map(self._counter, " ".join(words[1:]).replace(" |", "|").split())
            return "".join([*told, "counters done\n"])
        if words[0] == "run" and words[3] in self.cases:
            return self.cases[words[3]](self, words[1], words[3])
        if words[0] == "run":
            return block(words[3], words[1], " # no such case", "error")
        return f"error no such command: {words[0]}\n"

    def _counter(self, spec: str) -> str:
        name, _, ways = spec.partition("=")
        if all(self._absent and way.startswith(self._absent) for way in ways.split("|")):
            return f"counter {name} absent no {ways.replace('|', '; no ')}\n"
        return f"counter {name} ok\n"


def passes(payload: ScriptedPayload, run_id: str, case: str) -> str:
    """Answer with a pass."""
    return block(case, run_id)


def silent(payload: ScriptedPayload, run_id: str, case: str) -> str:
    """Answer nothing, ever."""
    return ""


def cut(payload: ScriptedPayload, run_id: str, case: str) -> str:
    """Lose the link in mid-block."""
    payload.gone = True
    text = block(case, run_id)
    return text[: len(text) // 2]


class ScriptedConsole:
    """A recording to which the test adds lines; it waits for nothing."""

    def __init__(self) -> None:
        self._recogniser = Recogniser()
        self._lines: list[str] = []
        self._events: list[ConsoleEvent] = []

    def say(self, *lines: str) -> None:
        new_lines, new_events = self._recogniser.feed("".join(f"{x}\r\n" for x in lines).encode())
        self._lines += new_lines
        self._events += new_events

    def mark(self) -> int:
        return len(self._lines)

    def tail(self, count: int) -> list[str]:
        return self._lines[-count:]

    def since(self, mark: int) -> list[str]:
        return self._lines[mark:]

    def events_since(self, mark: int) -> list[ConsoleEvent]:
        return [event for event in self._events if event.line_number >= mark]

    def wait_event(
        self, mark: int, wanted: Callable[[ConsoleEvent], bool], timeout: float
    ) -> ConsoleEvent | None:
        return next((event for event in self.events_since(mark) if wanted(event)), None)

    def wait_line(self, mark: int, wanted: Callable[[str], bool], timeout: float) -> int | None:
        lines = enumerate(self._lines[mark:], mark)
        return next((number for number, line in lines if wanted(line)), None)

    def wait_quiet(self, quiet: float, timeout: float) -> None:
        pass


class ScriptedMemory:
    """The kmemleak of a scripted board: it knows at once what was lost, and forgets it once told.

    ``says`` is called when the kernel scans; ``off`` is why it does not.
    """

    def __init__(self) -> None:
        self.says: Callable[[], None] = lambda: None
        self.off = ""
        self._now = 4294942000
        self._lost: list[str] = []

    def tick(self) -> int:
        self._now += 1
        return self._now

    def lose(self, caller: str) -> None:
        self._lost.append(
            f'unreferenced object 0x1 (size 256):\n  comm "payload", pid 9, jiffies {self._now}\n'
            f"  backtrace (crc 0):\n    __kmalloc_noprof+0x1/0x2\n    {caller}+0x1/0x2\n"
        )

    def answer(self, command: str) -> CommandOutput:
        if self.off:
            return CommandOutput(b"", f"{self.off}\n".encode(), 1)
        if "echo scan >" not in command:
            return CommandOutput(b"", b"", 0)
        self.says()
        told, self._lost = "".join(self._lost), []
        return CommandOutput(told.encode(), b"", 0)


class ScriptedLink:
    """A connection whose commands are answered from a table; files land in a dictionary."""

    def __init__(self, payload: Callable[[], ScriptedPayload]) -> None:
        self.files: dict[str, bytes] = {}
        self.memory: ScriptedMemory | None = None
        self.alive = True
        self._payload = payload

    def run(
        self, command: str, *, timeout: float, stdin: Iterator[bytes] | None = None
    ) -> CommandOutput:
        if not self.alive:
            raise LinkLost("scripted: the link closed")
        if self.memory is not None and "kmemleak" in command:
            return self.memory.answer(command)
        if command == "false":
            return CommandOutput(b"", b"no\n", 1)
        return CommandOutput(f"ran {command}\n".encode(), b"", 0)

    def put(
        self,
        source: Path,
        destination: str,
        *,
        timeout: float,
        mode: int = 0o644,
        parents: bool = False,
    ) -> bool:
        content = source.read_bytes()
        sent = self.files.get(destination) != content
        self.files[destination] = content
        return sent

    def open_channel(self, argv: Sequence[str]) -> ScriptedPayload:
        assert argv[1:] == ["serve"] and argv[0] in self.files
        return self._payload()


class ScriptedRig:
    """Power of a scripted board: each boot takes the next of ``boots`` (True: it comes up).

    ``says`` is what its kernel says in each.
    """

    name = "scripted-1"

    def __init__(self, cases: dict[str, Answer], boots: Sequence[bool | Exception] = ()) -> None:
        self.console = ScriptedConsole()
        self.cases = cases
        self.log: list[str] = []
        self.says: list[str] = []
        self.memory: ScriptedMemory | None = None
        self._boots = list(boots)
        self._files: dict[str, bytes] = {}
        self.link = ScriptedLink(lambda: ScriptedPayload(cases))

    def boot(self) -> float:
        self.log.append("boot")
        self.console.say("[    0.0] Booting Linux on physical CPU 0x0", *self.says)
        outcome = self._boots.pop(0) if self._boots else True
        if isinstance(outcome, Exception):
            raise outcome
        if not outcome:
            raise BootError("scripted: no SSH within 90 s")
        self.link = ScriptedLink(lambda: ScriptedPayload(self.cases, memory=self.memory))
        self.link.memory = self.memory
        return 3.0

    def off(self) -> None:
        self.log.append("off")


def small_payload(folder: Path) -> Payload:
    """Return a payload of a few bytes that lists no cases."""
    path = folder / "payload"
    path.write_bytes(b"#!/bin/true\n")
    return Payload(path, hashlib.sha256(path.read_bytes()).hexdigest(), ())


class ProcessTransport:
    """A local ``payload serve`` process as a transport."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, timeout: float) -> bytes:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        if not ready:
            return b""
        data = self.process.stdout.read1(65536)
        if not data:
            raise LinkLost("the process ended")
        return data

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except OSError as error:
            raise LinkLost("the process ended") from error

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self.process.kill()
        self.process.wait()
