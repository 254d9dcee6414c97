"""The payload's channel: one ``payload serve`` for as long as the board is up.

The channel speaks lines over a :class:`Transport`, the seam at which a scripted board, a local
process and an SSH channel are the same.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote

from farm.board.ktap import MAX_BLOCK, Block, BlockParser, left_behind
from farm.board.lines import LineSplitter
from farm.errors import BoardError, LinkLost, ProtocolError, UsageError

POLL_S = 0.25
"""How often a waiting channel lets its caller look elsewhere, in seconds."""
MAX_FACTS = 200
"""Facts that a payload may tell."""
MAX_FACT = 1000
"""Characters of a fact, or of a reason why a counter is absent."""

_KEY = re.compile(r"[A-Za-z0-9_]{1,64}")
_CASE = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_SAFE = "/:,.;@+-_=~!*()[]{}<>"
_NUMBER = re.compile(r"[0-9]{1,20}")
_GREETING = re.compile(r"payload 1 (\S{1,128})")
_T = TypeVar("_T")


class Transport(Protocol):
    """Bytes to and from a payload."""

    def read(self, timeout: float) -> bytes:
        """Return what has come, or nothing after ``timeout`` seconds; LinkLost at the end."""

    def write(self, data: bytes) -> None:
        """Send bytes, or raise LinkLost."""

    def close(self) -> None:
        """Let go of the payload; never raises."""


class Silence(LinkLost):
    """The payload did not answer in time, though the link still stands."""


def run_command(run_id: str, timeout_ms: int, case: str, params: Mapping[str, str]) -> str:
    """Return the line that has the payload run a case.

    Raises:
        UsageError: the case's or a parameter's name is not one.
    """
    words = [f"{key}={quote(value, safe=_SAFE)}" for key, value in params.items()]
    bad = [key for key in params if not _KEY.fullmatch(key)]
    if bad or not _CASE.fullmatch(case):
        raise UsageError(f"case {case!r}: not a name of a case or parameter: {bad or case!r}")
    return " ".join(["run", run_id, str(timeout_ms), case, *words])


class PayloadChannel:
    """Commands to a ``payload serve`` and their answers, one at a time."""

    def __init__(
        self, transport: Transport, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Talk over ``transport``; ``clock`` counts seconds."""
        self._transport = transport
        self._clock = clock
        self._splitter = LineSplitter()
        self._lines: deque[str] = deque()
        self._next_id = 0
        self.build = ""

    def start(self, timeout: float) -> str:
        """Await the payload's greeting; return its build id.

        Raises:
            LinkLost, ProtocolError: it did not come.
        """

        def greeting(line: str) -> str | None:
            match = _GREETING.fullmatch(line)
            return match[1] if match else None

        self.build = self._await(greeting, timeout, "greeting")
        return self.build

    def counters(self, specs: Sequence[str], timeout: float) -> dict[str, str]:
        """Open counters for the rest of the session.

        Each spec is ``NAME=SOURCE``; ``|SOURCE`` is another way to count what the one before it
        names, where that way does not work.

        Returns:
            for each counter an empty text where it counts, else why it is absent.
        """
        answers: dict[str, str] = {}
        names = [spec.partition("=")[0] for spec in specs if not spec.startswith("|")]

        def answer(line: str) -> bool | None:
            if line == "counters done":
                return True
            word, _, rest = line.partition(" ")
            if word == "counter":
                name, _, state = rest.partition(" ")
                state, _, reason = state.partition(" ")
                if name not in names or state not in ("ok", "absent"):
                    raise ProtocolError(f"the payload answered {line[:120]!r} to 'counters'")
                answers[name] = "" if state == "ok" else reason[:MAX_FACT] or "no reason given"
            return None

        self._send(" ".join(["counters", *specs]))
        self._await(answer, timeout, "answer to 'counters'")
        missing = [name for name in names if name not in answers]
        if missing:
            raise ProtocolError(f"the payload said nothing about counters {', '.join(missing)}")
        return answers

    def facts(self, timeout: float) -> dict[str, str]:
        """Return what the payload sees of the board: kernel, processors, memory."""
        found: dict[str, str] = {}

        def fact(line: str) -> bool | None:
            if line == "facts done":
                return True
            if line.startswith("fact ") and len(found) < MAX_FACTS:
                key, _, value = line[5:].partition(" ")
                found[key[:MAX_FACT]] = value[:MAX_FACT]
            return None

        self._send("facts")
        self._await(fact, timeout, "answer to 'facts'")
        return found

    def jiffies(self, timeout: float) -> int:
        """Return the board's jiffies, once they are others than before.

        Raises:
            BoardError: its kernel does not tell them; says why.
        """

        def told(line: str) -> str | None:
            word, _, rest = line.partition(" ")
            return rest if word == "jiffies" else None

        self._send("jiffies")
        said = self._await(told, timeout, "answer to 'jiffies'")
        if not _NUMBER.fullmatch(said):
            raise BoardError(f"the board's jiffies: {said[:MAX_FACT]}")
        return int(said)

    def evidence_begin(self, timeout: float) -> None:
        """Have the payload note what there is of what nobody must leave behind."""
        self._evidence("begin", timeout)

    def evidence_end(self, timeout: float) -> list[str]:
        """Return what is left behind since then, as in :attr:`farm.board.ktap.Block.dmesg`."""
        return self._evidence("end", timeout)

    def topology(self, timeout: float) -> list[str]:
        """Return what the board is made of, as records for :func:`farm.board.topology.parse`."""
        found: list[str] = []

        def record(line: str) -> bool | None:
            if line == "topology done":
                return True
            word, _, rest = line.partition("\t")
            if word == "topology":
                found.append(rest)
            return None

        self._send("topology")
        self._await(record, timeout, "answer to 'topology'")
        return found

    def ping(self, timeout: float) -> None:
        """Return once the payload answers.

        Raises:
            LinkLost: it did not.
        """
        self._next_id += 1
        expected = f"pong {self._next_id}"
        self._send(f"ping {self._next_id}")
        self._await(lambda line: True if line == expected else None, timeout, "pong")

    def run(
        self,
        case: str,
        params: Mapping[str, str],
        *,
        timeout_ms: int,
        grace: float,
        watch: Callable[[], None] = lambda: None,
    ) -> Block:
        """Run a case and return its block.

        ``timeout_ms`` is the limit that the payload itself keeps; the block has to be whole
        ``grace`` seconds after it. ``watch`` is called about every :data:`POLL_S` seconds and may
        raise.

        Raises:
            UsageError: the case's or a parameter's name is not one.
            Silence: the block was not whole in time.
            LinkLost: the link closed.
            ProtocolError: the block breaks the protocol.
        """
        self._next_id += 1
        run_id = str(self._next_id)
        command = run_command(run_id, timeout_ms, case, params)
        parser = BlockParser(case, run_id)

        def block(line: str) -> Block | None:
            if not parser.begun and line.startswith("error "):
                raise ProtocolError(f"case {case}: the payload refused: {line[6:200]}")
            return parser.feed(line)

        self._send(command)
        return self._await(
            block, timeout_ms / 1000 + grace, f"whole block of case {case}", watch=watch
        )

    def close(self) -> None:
        """Let go of the payload."""
        self._transport.close()

    def _evidence(self, word: str, timeout: float) -> list[str]:
        left: list[str] = []

        def answer(line: str) -> bool | None:
            if line.startswith("error "):
                raise ProtocolError(f"the payload answered {line[:120]!r} to 'evidence {word}'")
            told = left_behind(line)
            if told is not None and len(left) < MAX_FACTS:
                left.append(told)
            return True if line == "evidence done" else None

        self._send(f"evidence {word}")
        self._await(answer, timeout, f"answer to 'evidence {word}'")
        return left

    def _send(self, line: str) -> None:
        self._transport.write(line.encode() + b"\n")

    def _await(
        self,
        accept: Callable[[str], _T | None],
        timeout: float,
        what: str,
        *,
        watch: Callable[[], None] = lambda: None,
    ) -> _T:
        deadline = self._clock() + timeout
        taken = 0
        while True:
            while self._lines:
                line = self._lines.popleft()
                taken += len(line) + 1
                found = accept(line)
                if found is not None:
                    return found
            if taken > MAX_BLOCK:
                raise ProtocolError(f"no {what} in {MAX_BLOCK} bytes from the payload")
            watch()
            left = deadline - self._clock()
            if left <= 0:
                raise Silence(f"no {what} within {timeout:g} s")
            self._lines.extend(self._splitter.feed(self._transport.read(min(left, POLL_S))))
