"""In which order a night runs its tests, so that what matters most has run when time is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from farm.model import Verdict
from farm.settling import LEFT_OPEN
from farm.store.earlier import Came


class Rank(IntEnum):
    """Why a test comes when it does, most important first."""

    TROUBLED = 0  # it failed last night, or came to something else than before
    UNKNOWN = 1  # it never told anything, or was left open last night
    USUAL = 2


@dataclass(frozen=True, slots=True)
class Ranked:
    """A test with its rank, the priority of its most important requirement, and its last duration.

    ``duration_s`` is None where it never ran.
    """

    nodeid: str
    rank: Rank
    priority: int
    duration_s: float | None


def rank(came: Sequence[Came], last_night: str) -> Rank:
    """Return a test's rank by what it came to in earlier nights, oldest first."""
    told = [one for one in came if one.told]
    if came and came[-1].run == last_night:
        last = came[-1]
        if last.verdict.is_failure:
            return Rank.TROUBLED
        if last.told and len(told) > 1 and told[-2].verdict.is_failure:
            return Rank.TROUBLED
        if last.verdict in LEFT_OPEN:
            return Rank.UNKNOWN
        if last.verdict is Verdict.SKIP:
            return Rank.USUAL  # it costs nothing, and tells nothing
    return Rank.USUAL if told else Rank.UNKNOWN


def ordered(
    tests: Sequence[tuple[str, Sequence[str]]],
    came: Mapping[str, Sequence[Came]],
    last_night: str,
    priorities: Mapping[str, int],
    usual: int,
) -> list[Ranked]:
    """Return tests, each a node id with its requirements, the most important first.

    ``came`` has what they came to, by node id; ``priorities`` those of requirements, 1 before 2;
    ``usual`` is that of a test without a known one. Tests that are alike stay in their order.
    """
    found = []
    for nodeid, requirements in tests:
        earlier = came.get(nodeid, ())
        known = [priorities[name] for name in requirements if name in priorities]
        durations = [one.duration_s for one in earlier if one.told]
        found.append(
            Ranked(
                nodeid,
                rank(earlier, last_night),
                min(known, default=usual),
                durations[-1] if durations else None,
            )
        )
    return sorted(found, key=lambda one: (one.rank, one.priority))
