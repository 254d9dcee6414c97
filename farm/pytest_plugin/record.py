"""What one attempt of one test leaves for the journal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from farm.board.result import CaseResult
from farm.events import AbsentEvent, SampleEvent
from farm.pytest_plugin.subcases import SubCase

EFFORT = ("seed", "ms")
"""Parameters of stress cases that make no other thing of what is measured."""

MAX_SAMPLES = 10_000
"""Samples of one test that are kept: they go into one event of the journal."""


@dataclass(slots=True)
class Phase:
    """Setup, call or teardown of an attempt: its report, and what was raised in it."""

    report: pytest.TestReport
    error: BaseException | None


@dataclass(slots=True)
class Record:
    """Everything an attempt gathered: phases, payload runs, the matrix cell.

    ``seeded`` says that the test took the seed for its decisions. ``subcases`` are what a program
    told of, ``program_hash`` tells its builds apart, ``note`` is the reason of a test that passes.
    """

    phases: list[Phase] = field(default_factory=list)
    runs: list[tuple[dict[str, str], CaseResult]] = field(default_factory=list)
    cell: dict[str, str] = field(default_factory=dict)
    seeded: bool = False
    subcases: list[SubCase] = field(default_factory=list)
    note: str = ""
    program_hash: str = ""

    def samples(self) -> list[SampleEvent]:
        """Return the samples of all payload runs, no two alike in metric and parameters.

        A run that differs from the test's first in case or parameters has the difference among
        its samples' parameters. What is measured once more without any difference is ``nth=2`` and
        so on: within a test that is another thing measured, not a replicate of it. What is beyond
        :data:`MAX_SAMPLES` is left out.
        """
        seen: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        found = []
        for params, result in self.runs:
            difference = self._difference(params, result)
            for sample in result.samples:
                labels = {**difference, **sample.params}
                name = (sample.metric, tuple(sorted(labels.items())))
                seen[name] += 1
                if seen[name] > 1:
                    labels["nth"] = str(seen[name])
                found.append(
                    SampleEvent(
                        metric=sample.metric, value=sample.value, unit=sample.unit, params=labels
                    )
                )
        return found[:MAX_SAMPLES]

    @property
    def too_many(self) -> bool:
        """Whether there are more samples than a journal's event holds."""
        return sum(len(result.samples) for _, result in self.runs) > MAX_SAMPLES

    def from_cache(self) -> str:
        """Return that all of it was measured before, and when; empty where any of it was not."""
        made = [result.cached for _, result in self.runs]
        if not made or not all(made):
            return ""
        return f"cached: measured {min(made)}, and nothing that it depends on has changed since"

    def absent(self) -> list[AbsentEvent]:
        """Return the counters that no payload run could have, each once."""
        reasons = {one.counter: one.reason for _, result in self.runs for one in result.absent}
        return [AbsentEvent(counter=name, reason=text) for name, text in reasons.items()]

    def decisions(self) -> str:
        """Return the digests of what the test's stress cases decided, one after the other."""
        told = [result.info.get("decisions", "") for _, result in self.runs]
        return " ".join(filter(None, told))

    def case_hash(self, case: str) -> str:
        """Return a program's hash, else that of ``case`` if it was run, else of the first case."""
        hashes = [result.case_hash for _, result in self.runs]
        named = [result.case_hash for _, result in self.runs if result.case == case]
        return self.program_hash or next(iter([*named, *hashes]), "")

    def _difference(self, params: dict[str, str], result: CaseResult) -> dict[str, str]:
        first_params, first = self.runs[0]
        found = {key: value for key, value in params.items() if first_params.get(key) != value}
        for name in EFFORT if self.seeded else ():
            found.pop(name, None)
        if result.case != first.case:
            found["run_case"] = result.case
        return found


RECORD = pytest.StashKey[Record]()
