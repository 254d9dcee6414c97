"""Requirements against boards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from farm.analysis.verdicts import count
from farm.model import Verdict, worst
from farm.store.records import RunRecord


@dataclass(frozen=True, slots=True)
class RequirementRow:
    """One requirement; ``verdicts`` counts its tests by board, where the board has any."""

    id: str
    verdicts: Mapping[str, Mapping[Verdict, int]]

    def verdict(self, board: str) -> Verdict | None:
        """Return what the board's tests of this requirement amount to, None without any."""
        return worst(self.verdicts.get(board, {}))


def requirements(run: RunRecord) -> tuple[RequirementRow, ...]:
    """Return every requirement that a test of the run names, in the order of the ids."""
    found: dict[str, dict[str, list[Verdict]]] = {}
    for job in run.jobs:
        for test in job.final_tests:
            for name in test.requirements:
                found.setdefault(name, {}).setdefault(job.board, []).append(test.verdict)
    return tuple(
        RequirementRow(name, {board: count(verdicts) for board, verdicts in found[name].items()})
        for name in sorted(found, key=_natural)
    )


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
