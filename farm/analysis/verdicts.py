"""Counting verdicts, and what a count means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from farm.model import Verdict, tally


def total(counts: Iterable[Mapping[Verdict, int]]) -> dict[Verdict, int]:
    """Return the sum of several counts."""
    summed: Counter[Verdict] = Counter()
    for one in counts:
        summed.update(one)
    return tally(summed.elements())


def exit_code(counts: Mapping[Verdict, int]) -> int:
    """Return the exit code of a run with these verdicts.

    1 with any FAIL, XPASS or ERROR; else 3 with any NEW, INFRA or MISS, or where nothing ran;
    else 0.
    """
    occurring = [verdict for verdict, number in counts.items() if number]
    if any(verdict.is_failure for verdict in occurring):
        return 1
    if not occurring or any(verdict.is_gap for verdict in occurring):
        return 3
    return 0
