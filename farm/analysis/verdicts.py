"""Counting verdicts, and what a count means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from farm.model import WORST_FIRST, Verdict


def count(verdicts: Iterable[Verdict]) -> dict[Verdict, int]:
    """Return how often each verdict occurs, worst first; those that do not occur are left out."""
    counted = Counter(verdicts)
    return {verdict: counted[verdict] for verdict in WORST_FIRST if counted[verdict]}


def total(counts: Iterable[Mapping[Verdict, int]]) -> dict[Verdict, int]:
    """Return the sum of several counts, worst first."""
    summed: Counter[Verdict] = Counter()
    for one in counts:
        summed.update(one)
    return {verdict: summed[verdict] for verdict in WORST_FIRST if summed[verdict]}


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
