"""Strict incremental parser of the KTAP block that one payload case prints.

::

    KTAP version 1
    1..1
    # case name=NAME id=ID hash=HASH16
    # info KEY VALUE…
    # sample name=dma_map_sg value=254 unit=count phase=first seq=0
    # sample name=device_interrupts value=3 unit=count phase=case of=0000:00:02.0 seq=1
    # absent counter=pmu_cycles reason=…
    # leak dma_buf_left 1 count left …
    # dmesg LEVEL text…
    not ok 1 NAME # reason         | ok 1 NAME | ok 1 NAME # SKIP reason
    # outcome pass|fail|skip|error|timeout [detail]
    # end id=ID samples=N

Lines that do not start like one of these are noise and may stand anywhere. A line that starts like
one and goes on otherwise, a gap in ``seq``, a missing part or a part twice is a
:class:`~farm.errors.ProtocolError`: a stream that was cut or garbled is never a pass.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from farm.board.console import LEFT_BEHIND
from farm.board.lines import LineSplitter
from farm.errors import ProtocolError

MAX_BLOCK = 32 << 20
"""Bytes of one block, noise included; a case that prints more is cut off."""
MAX_RECORDS = 100_000
"""Samples, facts and log lines of one block."""

MAX_LEAK = 500
"""Characters of what is said about one leak."""

OUTCOMES = frozenset({"pass", "fail", "skip", "error", "timeout"})

_NAME = r"[A-Za-z0-9_.:\-]{1,128}"
_CASE = re.compile(rf"# case name=({_NAME}) id=({_NAME}) hash=([0-9a-f]{{16}})")
_INFO = re.compile(rf"# info ({_NAME})(?: (.*))?")
_SAMPLE = re.compile(
    rf"# sample name=({_NAME}) value=(-?\d{{1,20}}(?:\.\d{{1,20}})?(?:[eE][+-]?\d{{1,3}})?)"
    rf" unit=([!-~]{{1,32}}) phase=({_NAME})(?: of=({_NAME}))? seq=(\d{{1,9}})"
)
_ABSENT = re.compile(rf"# absent counter=({_NAME}) reason=(.*)")
_LEAK = re.compile(rf"# leak ({_NAME}) (.*)")
_DMESG = re.compile(r"# dmesg (\d{1,2}|[a-z]{1,8}) (.*)")
_RESULT = re.compile(rf"(ok|not ok) 1 ({_NAME})(?: # (.*))?")
_OUTCOME = re.compile(r"# outcome ([a-z]{1,16})(?: (.*))?")
_END = re.compile(rf"# end id=({_NAME}) samples=(\d{{1,9}})")


@dataclass(frozen=True, slots=True)
class RawSample:
    """One ``# sample`` line; ``of`` says what it is of where the name names several things."""

    name: str
    value: float
    unit: str
    phase: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """What one case said, whole and consistent.

    ``dmesg`` is what the kernel logged meanwhile, after what the harness saw left behind: lines
    that begin with :data:`farm.board.console.LEFT_BEHIND`.
    """

    name: str
    id: str
    hash: str
    outcome: str
    reason: str
    info: dict[str, str]
    samples: tuple[RawSample, ...]
    absent: dict[str, str]
    dmesg: tuple[str, ...]


@dataclass(slots=True)
class _Building:
    name: str = ""
    id: str = ""
    hash: str = ""
    ok: bool = False
    skipped: bool = False
    reason: str = ""
    outcome: str = ""
    info: dict[str, str] = field(default_factory=dict)
    samples: list[RawSample] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    dmesg: list[str] = field(default_factory=list)

    @property
    def records(self) -> int:
        return len(self.info) + len(self.samples) + len(self.absent) + len(self.dmesg)


_STEPS = ("KTAP version 1", "1..1", "# case", "result", "# outcome", "# end", "")
"""What has to come, in order; between ``# case`` and ``# end`` stand the records."""


def left_behind(line: str) -> str | None:
    """Return what a line says is left behind, as in :attr:`Block.dmesg`; None if it is no such."""
    match = _LEAK.fullmatch(line)
    return _told(match) if match else None


def _told(leak: re.Match[str]) -> str:
    return f"{LEFT_BEHIND}{leak[1]}: {leak[2][:MAX_LEAK]}"


class BlockParser:
    """Takes lines until one block is whole."""

    def __init__(self, case: str, run_id: str) -> None:
        """Expect the block of ``case``, started under ``run_id``."""
        self._case = case
        self._run_id = run_id
        self._step = 0
        self._size = 0
        self._made = _Building()

    @property
    def begun(self) -> bool:
        """Whether the block's first line has been seen."""
        return self._step > 0

    @property
    def missing(self) -> str:
        """Return the part that has to come next; empty once the block is whole."""
        return _STEPS[self._step]

    def feed(self, line: str) -> Block | None:
        """Take one line; return the block if this line ends it.

        Raises:
            ProtocolError: the line breaks the protocol, or the block is too large.
        """
        self._size += len(line) + 1
        if self._size > MAX_BLOCK:
            raise self._error(f"more than {MAX_BLOCK} bytes", "a shorter block")
        if line.startswith("KTAP version"):
            self._advance(0, line, line == "KTAP version 1")
        elif line.startswith("1.."):
            self._advance(1, line, line == "1..1")
        elif line.startswith("# case "):
            self._begin(line)
        elif line.startswith(("ok ", "not ok ")):
            self._result(line)
        elif line.startswith("# outcome "):
            self._outcome(line)
        elif line.startswith("# end "):
            return self._end(line)
        else:
            self._record(line)
        return None

    def _advance(self, step: int, line: str, well_formed: bool) -> None:
        if not well_formed or self._step != step:
            raise self._error(line, repr(self.missing) if self.missing else "nothing more")
        self._step += 1

    def _begin(self, line: str) -> None:
        match = _CASE.fullmatch(line)
        self._advance(2, line, match is not None)
        assert match is not None
        made = self._made
        made.name, made.id, made.hash = match.groups()
        if made.name != self._case or made.id != self._run_id:
            raise self._error(line, f"case {self._case!r} with id {self._run_id!r}")

    def _record(self, line: str) -> None:
        made = self._made
        if line.startswith("# sample "):
            match = self._well_formed(_SAMPLE, line)
            name, value, unit, phase, of, seq = match.groups()
            if int(seq) != len(made.samples):
                raise self._error(line, f"seq={len(made.samples)}")
            number = float(value)
            if not math.isfinite(number):
                raise self._error(line, "a finite value")
            made.samples.append(RawSample(name, number, unit, phase, of or ""))
        elif line.startswith("# info "):
            match = self._well_formed(_INFO, line)
            made.info[match[1]] = match[2] or ""
        elif line.startswith("# absent "):
            match = self._well_formed(_ABSENT, line)
            made.absent[match[1]] = match[2][:1000]
        elif line.startswith("# leak "):
            made.dmesg.append(_told(self._well_formed(_LEAK, line)))
        elif line.startswith("# dmesg "):
            match = self._well_formed(_DMESG, line)
            made.dmesg.append(match[2])
        if made.records > MAX_RECORDS:
            raise self._error(f"more than {MAX_RECORDS} records", "a shorter block")

    def _well_formed(self, regex: re.Pattern[str], line: str) -> re.Match[str]:
        match = regex.fullmatch(line)
        if match is None or not 3 <= self._step <= 5:
            expected = "a well-formed record" if match is None else repr(self.missing)
            raise self._error(line, expected)
        return match

    def _result(self, line: str) -> None:
        match = _RESULT.fullmatch(line)
        self._advance(3, line, match is not None and match[2] == self._case)
        assert match is not None
        made = self._made
        made.ok = match[1] == "ok"
        made.reason = (match[3] or "")[:4000]
        directive, _, rest = made.reason.partition(" ")
        if made.ok and directive.upper() == "SKIP":
            made.skipped, made.reason = True, rest

    def _outcome(self, line: str) -> None:
        match = _OUTCOME.fullmatch(line)
        self._advance(4, line, match is not None and match[1] in OUTCOMES)
        assert match is not None
        made = self._made
        made.outcome = match[1]
        if made.ok != (made.outcome in ("pass", "skip")) or made.skipped != (
            made.outcome == "skip"
        ):
            raise self._error(line, "an outcome that agrees with the result line")
        made.reason = made.reason or match[2] or ""

    def _end(self, line: str) -> Block:
        match = _END.fullmatch(line)
        self._advance(5, line, match is not None)
        assert match is not None
        made = self._made
        if match[1] != self._run_id or int(match[2]) != len(made.samples):
            raise self._error(line, f"id={self._run_id} samples={len(made.samples)}")
        return Block(
            name=made.name,
            id=made.id,
            hash=made.hash,
            outcome=made.outcome,
            reason=made.reason,
            info=made.info,
            samples=tuple(made.samples),
            absent=made.absent,
            dmesg=tuple(made.dmesg),
        )

    def _error(self, seen: str, expected: str) -> ProtocolError:
        shown = seen if len(seen) <= 120 else f"{seen[:120]}…"
        return ProtocolError(f"case {self._case}: the payload sent {shown!r}, expected {expected}")


def parse_block(data: bytes, case: str, run_id: str) -> Block:
    """Return the one block in ``data``, the output of ``payload run``.

    Raises:
        ProtocolError: there is no whole block of that case in it.
    """
    parser = BlockParser(case, run_id)
    splitter = LineSplitter()
    for line in splitter.feed(data):
        block = parser.feed(line)
        if block is not None:
            return block
    raise ProtocolError(f"case {case}: the output ends before {parser.missing!r}")
