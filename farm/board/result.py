"""What one payload case gave, in the words of tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from farm.board.console import LEFT_BEHIND, ConsoleEvent
from farm.board.ktap import Block
from farm.errors import ControlError, KernelComplaint, LinkLost, TestBroken
from farm.model import Absent, Sample

WHOLE_CASE = "case"
"""Phase of the samples that bracket the whole case."""

PAUSED = "paused"
"""Stands among the absent counters for those that :data:`WHOLE_CASE` alone does not have.

They did not count while the case took times; the reason ends in ``: NAME, NAME…``.
"""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Outcome, facts and samples of one case.

    ``cached`` says when it was measured, where it was not measured now; else it is empty.
    ``outcome`` is ``pass``, ``fail``, ``skip``, ``error`` (the case crashed or leaked) or
    ``timeout``; ``info`` holds what the case wants the test to know.
    """

    case: str
    case_hash: str
    outcome: str
    reason: str
    info: Mapping[str, str]
    samples: tuple[Sample, ...]
    absent: tuple[Absent, ...]
    dmesg: tuple[str, ...]
    cached: str = ""

    @classmethod
    def of(cls, block: Block, absent: Mapping[str, str] = MappingProxyType({})) -> CaseResult:
        """Return the result that a block tells.

        ``absent`` are the counters that the board cannot give at all, each with the reason: the
        payload tells of them once, when they are opened.
        """
        seen: Counter[tuple[str, str, str]] = Counter()
        samples = []
        for one in block.samples:
            of = {"of": one.of} if one.of else {}
            params = MappingProxyType({"phase": one.phase, **of})
            key = (one.name, one.phase, one.of)
            samples.append(Sample(one.name, one.value, one.unit, params, seen[key]))
            seen[key] += 1
        return cls(
            case=block.name,
            case_hash=block.hash,
            outcome=block.outcome,
            reason=block.reason,
            info=MappingProxyType(dict(block.info)),
            samples=tuple(samples),
            absent=tuple(Absent(*one) for one in {**absent, **block.absent}.items()),
            dmesg=block.dmesg,
        )

    def counter(self, name: str, phase: str = WHOLE_CASE) -> float:
        """Return what a counter counted in ``phase``, summed where the phase came several times.

        Raises:
            ControlError: the board could not count it, so nothing follows; says why.
        """
        return sum(self.values(name, phase))

    def value(self, name: str, phase: str = WHOLE_CASE) -> float:
        """Return the one sample of that name and phase.

        Raises:
            ControlError: there is none.
            TestBroken: there are several; ask for :meth:`values`.
        """
        values = self.values(name, phase)
        if len(values) != 1:
            raise TestBroken(
                f"case {self.case}: {len(values)} samples {name!r} in phase {phase!r}, expected one"
            )
        return values[0]

    def values(self, name: str, phase: str = WHOLE_CASE) -> tuple[float, ...]:
        """Return all samples of that name and phase, in order; never none.

        Raises:
            ControlError: there is none; says why the counter is absent, or which phases there are.
        """
        found = tuple(
            sample.value
            for sample in self.samples
            if sample.metric == name and sample.params.get("phase") == phase
        )
        if found:
            return found
        for absent in self.absent:
            behind = absent.reason.rpartition(": ")[2].split(", ")
            paused = absent.counter == PAUSED and phase == WHOLE_CASE and name in behind
            if absent.counter == name or paused:
                raise ControlError(
                    f"case {self.case}: {name} could not be counted: {absent.reason}"
                )
        phases = sorted({s.params.get("phase", "") for s in self.samples if s.metric == name})
        seen = f"phases with it: {', '.join(phases)}" if phases else "it has no such metric"
        raise ControlError(f"case {self.case}: no sample {name!r} in phase {phase!r}; {seen}")


class CaseComplaint(KernelComplaint):
    """A kernel complaint while a case was running.

    ``excerpt`` holds console or kernel log lines around it; ``fatal`` says that the board has to be
    power-cycled; ``result`` is the case's own result where it got that far.
    """

    def __init__(
        self,
        message: str,
        *,
        events: tuple[ConsoleEvent, ...],
        excerpt: tuple[str, ...],
        fatal: bool,
        result: CaseResult | None = None,
    ) -> None:
        """Keep the evidence with the sentence."""
        super().__init__(message)
        self.events = events
        self.excerpt = excerpt
        self.fatal = fatal
        self.result = result

    @property
    def left(self) -> dict[str, str]:
        """What is left behind, by counter; empty where the kernel complains of more than that."""
        if not all(event.line.startswith(LEFT_BEHIND) for event in self.events):
            return {}
        told = [event.line.removeprefix(LEFT_BEHIND).partition(": ") for event in self.events]
        return {name: said for name, _, said in told}


class BoardHung(LinkLost):
    """A case and the channel fell silent, and nothing on the console says why."""


class CommandFailed(TestBroken):
    """A shell command that a test ran on the board ended with another status than 0."""
