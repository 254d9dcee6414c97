"""What every session has: the board's facts, and the word of a case held against the kernel's.

How cases get to the board and their blocks back is up to the kinds of session: over a link that
stays (:mod:`farm.board.session`), or with a boot for each case (:mod:`farm.board.exact.session`).
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from farm.board.complaints import Ledger, sentence
from farm.board.console import BANNERS, ConsoleEvent, Matcher
from farm.board.kernel import KernelRelease
from farm.board.kmemleak import MemoryLeaks
from farm.board.ktap import Block
from farm.board.payload import Payload
from farm.board.recorder import Console
from farm.board.result import CaseComplaint, CaseResult
from farm.counters.registry import Counter
from farm.inventory import Limits

EXCERPT_LINES = 60
"""Lines of the console, or of the kernel's log, that go with a complaint."""
LINES_BEFORE = 5
"""Those of them that stand before it."""


@dataclass(slots=True, kw_only=True)
class Session(abc.ABC):
    """A board that cases can be run on.

    ``payload`` holds all cases; ``ended`` says what ended the session early; ``ledger`` holds the
    kernel's complaints; ``memory`` finds what is lost of it, where the kernel looks for that.
    """

    console: Console
    ledger: Ledger
    payload: Payload
    limits: Limits
    counters: Sequence[Counter]
    patterns: Sequence[tuple[str, str]] = ()
    alive: bool = False
    ended: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    topology: dict[str, Any] = field(default_factory=dict)
    memory: MemoryLeaks | None = None
    _matcher: Matcher = field(init=False)

    def __post_init__(self) -> None:
        """Make what finds complaints."""
        self._matcher = Matcher(self.patterns)

    @abc.abstractmethod
    def close(self, why: str = "") -> None:
        """Let go of the board; ``why`` says what ended the session early."""

    @abc.abstractmethod
    def command(self, text: str) -> str:
        """Run a shell command and return what it printed.

        Raises:
            CommandFailed: it ended with another status than 0.
            CaseComplaint: the kernel died meanwhile.
            BoardError: it took too long, or the board was lost.
        """

    @abc.abstractmethod
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
            LinkLost: the board was lost, with nothing on the console.
            ProtocolError: the stream was garbled.
        """

    def _specs(self) -> list[str]:
        """Return what the payload is to open: of each counter the ways to count it, best first."""
        return [
            f"|{way}" if number else f"{one.name}={way}"
            for one in self.counters
            for number, way in enumerate(one.specs)
        ]

    def _note_absent(self, answers: Mapping[str, str]) -> None:
        """Keep of which counters the payload says why they are absent."""
        self.absent = {name: reason for name, reason in answers.items() if reason}

    def lacks(self, case: str) -> str:
        """Return what the board must have for the case and has not, or nothing."""
        listed = self.payload.case(case)
        if listed is not None and listed.needs == "smp" and self.facts.get("cpus") == "1":
            return "two CPUs, and it has one"
        return ""

    @property
    def kernel(self) -> KernelRelease:
        """The kernel that the board runs."""
        return KernelRelease.parse(str(self.topology.get("board", {}).get("kernel", "")))

    def _limit(self, case: str, wanted_s: float | None) -> float:
        """Return a case's time limit in seconds: what its test wants, with patience for the kernel.

        Without a wish it is the longer of the case's own and the board's.
        """
        if wanted_s is not None:
            return wanted_s * self.limits.slowness
        listed = self.payload.case(case)
        own = listed.timeout_ms / 1000 if listed is not None else 0.0
        return max(own * self.limits.slowness, self.limits.case_s)

    def _judge(self, block: Block, mark: int, tolerate: Sequence[str]) -> CaseResult:
        __tracebackhide__ = True
        result = CaseResult.of(block, self.absent)
        complaint = self._complaint(block.dmesg, mark, tolerate, result)
        if complaint is None:
            return result
        if not complaint.fatal and result.outcome not in ("pass", "skip"):
            return result
        raise complaint

    def _complaint(
        self,
        dmesg: Sequence[str],
        mark: int,
        tolerate: Sequence[str] = (),
        result: CaseResult | None = None,
    ) -> CaseComplaint | None:
        """Return what the kernel complained about from the console's line ``mark`` on, if it did.

        ``dmesg`` is what its log says since then; ``result`` is the case's. A fatal complaint ends
        the session.
        """
        logged = list(self._logged(dmesg, mark))
        events = self.ledger.judge(mark, logged, tolerate)
        if not events:
            return None
        fatal = next((event for event in events if event.fatal), None)
        first = fatal or events[0]
        on_console = not any(first is event for event in logged)
        excerpt = self._excerpt(mark, first) if on_console else _around(first.line, dmesg)
        said = f"the kernel complained ({first.pattern}): {first.line.strip()}"
        if fatal is not None:
            self.close(said)
        return CaseComplaint(
            said,
            events=tuple(events),
            excerpt=tuple(excerpt),
            fatal=fatal is not None,
            result=result,
        )

    def _logged(self, dmesg: Sequence[str], mark: int) -> Iterator[ConsoleEvent]:
        for line in dmesg:
            row = self._matcher.match(line)
            if row is not None and row.name not in BANNERS:
                yield ConsoleEvent(row.name, row.fatal, line, mark)

    def _death(self, mark: int, event: ConsoleEvent) -> CaseComplaint:
        """Return the failure of the case that the kernel died under."""
        return CaseComplaint(
            sentence(event),
            events=tuple(self.console.events_since(mark)),
            excerpt=tuple(self._excerpt(mark, event)),
            fatal=True,
        )

    def _excerpt(self, mark: int, event: ConsoleEvent) -> list[str]:
        start = max(mark, event.line_number - LINES_BEFORE)
        return self.console.since(start)[:EXCERPT_LINES]


def _around(line: str, log: Sequence[str]) -> Sequence[str]:
    start = max(0, log.index(line) - LINES_BEFORE)
    return log[start : start + EXCERPT_LINES]
