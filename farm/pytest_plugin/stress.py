"""What a stress case is told: its seed, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_SLACK_S = 60.0
"""Seconds beyond its time that a stress case may take to begin and to end, on a slow board."""


@dataclass(frozen=True, slots=True)
class Stress:
    """The seed and the seconds of a test's stress cases.

    A payload case that decides by ``payload/stress.h`` and declares ``seed=1 ms=500 rounds=0`` is
    run as ``board.run("churn", **stress.arguments)``. The same seed makes the same decisions; how
    many rounds of them fit into the time may differ.
    """

    seed: int
    seconds: float

    @property
    def arguments(self) -> dict[str, Any]:
        """The case's parameters ``seed`` and ``ms``, and a time limit beyond its time."""
        return {
            "seed": self.seed,
            "ms": max(1, round(self.seconds * 1000)),
            "timeout_s": self.seconds + _SLACK_S,
        }


def timed_rounds(usual: int, stress_s: float) -> int:
    """Return how often to repeat what is timed: ``usual``, and fewer below a second of stress."""
    return max(1, round(usual * min(1.0, stress_s)))
