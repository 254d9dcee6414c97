"""How far two sets of values lie apart, by ranks: no assumption about how they are spread.

The shift is the median of all pairwise differences (Hodges and Lehmann), its interval the one that
belongs to the exact test of Mann and Whitney. Few values give no interval: with 3 on either side
even the clearest order comes about by chance once in ten times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from statistics import median

CONFIDENCE = 0.99
"""How sure an interval is. With a thousand metrics ten still miss by chance."""

MOST = 40
"""Values of one side that are looked at: the last ones."""


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much the values moved, in their unit; the true shift is within ``low`` … ``high``."""

    by: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether no movement at all is outside the interval."""
        return self.low > 0 or self.high < 0


def spread(values: Sequence[float]) -> float:
    """Return the median distance from the median."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def shift(before: Sequence[float], after: Sequence[float]) -> Shift | None:
    """Return the shift from ``before`` to ``after``; nothing where there are too few values."""
    before, after = before[-MOST:], after[-MOST:]
    cut = _cut(len(before), len(after))
    if cut is None:
        return None
    differences = sorted(late - early for late in after for early in before)
    return Shift(median(differences), differences[cut], differences[-1 - cut])


def enough(count: int) -> bool:
    """Return whether two sets of ``count`` values each can tell anything."""
    return _cut(count, count) is not None


@cache
def _cut(one: int, other: int) -> int | None:
    """Return how many of the sorted differences lie outside the interval at either end."""
    allowed = (1 - CONFIDENCE) / 2 * comb(one + other, one)
    counts = _ways(one, other)
    taken = 0
    for rank, ways in enumerate(counts):
        taken += ways
        if taken > allowed:
            return rank - 1 if rank else None
    return None


def _ways(one: int, other: int) -> list[int]:
    """Return in how many orders of the values each value of U (0, 1, …) comes about.

    The coefficients of the Gaussian binomial: the product of (1 - x^(other + i)) / (1 - x^i).
    """
    size = one * other + 1
    ways = [1] + [0] * (size - 1)
    for i in range(1, one + 1):
        for at in range(size - 1, other + i - 1, -1):
            ways[at] -= ways[at - other - i]
        for at in range(i, size):
            ways[at] += ways[at - i]
    return ways
