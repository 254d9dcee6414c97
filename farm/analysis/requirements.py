"""Requirements against boards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from farm.model import WORST_FIRST, Verdict, tally, worst
from farm.store.records import RunRecord


@dataclass(frozen=True, slots=True)
class RequirementRow:
    """One requirement; ``verdicts`` counts its tests by board, where the board has any.

    ``text`` is its sentence and ``suite`` who tests it; both are empty where nobody knows it.
    """

    id: str
    verdicts: Mapping[str, Mapping[Verdict, int]]
    suite: str = ""
    text: str = ""

    def verdict(self, board: str) -> Verdict | None:
        """Return what the board's tests of this requirement amount to, None without any."""
        return worst(self.verdicts.get(board, {}))

    @property
    def boards(self) -> Mapping[Verdict, tuple[str, ...]]:
        """The boards by what its tests amount to there, worst first."""
        told = {board: self.verdict(board) for board in self.verdicts}
        return {
            verdict: boards
            for verdict in WORST_FIRST
            if (boards := tuple(name for name, one in told.items() if one is verdict))
        }


def requirements(
    run: RunRecord, known: Mapping[str, tuple[str, str]] | None = None
) -> tuple[RequirementRow, ...]:
    """Return every requirement that a test of the run names or that is known, by id.

    ``known`` has suite and sentence of those that are.
    """
    found: dict[str, dict[str, list[Verdict]]] = {name: {} for name in known or ()}
    for job in run.jobs:
        for test in job.final_tests:
            for name in test.requirements:
                found.setdefault(name, {}).setdefault(job.board, []).append(test.verdict)
    return tuple(
        RequirementRow(
            name,
            {board: tally(verdicts) for board, verdicts in found[name].items()},
            *(known or {}).get(name, ("", "")),
        )
        for name in sorted(found, key=_natural)
    )


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
