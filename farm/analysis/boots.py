"""How long a board's boots took, as a few numbers and as a picture of text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_BINS = 10
_WIDTH = 40


def describe_boots(seconds: Sequence[float]) -> dict[str, float]:
    """Return least, median, 90th percentile (nearest rank) and most; empty where there are none."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p90": ordered[math.ceil(0.9 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def bars(seconds: Sequence[float]) -> list[str]:
    """Return a histogram of up to ten lines, each a range of seconds, a count and a bar.

    Ranges are equal and at least 0.1 s wide; each holds its lower end, the last one both.
    """
    if not seconds:
        return []
    least, most = min(seconds), max(seconds)
    width = max(0.1, (most - least) / _BINS)
    number = max(1, min(_BINS, math.ceil((most - least) / width)))
    counts = [0] * number
    for value in seconds:
        counts[min(number - 1, int((value - least) / width))] += 1
    return [
        f"{least + at * width:7.1f} to {least + (at + 1) * width:5.1f} s {count:6}  "
        + "#" * math.ceil(count * _WIDTH / max(counts))
        for at, count in enumerate(counts)
    ]
