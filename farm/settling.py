"""Which verdict stands where a run tried a test in several jobs.

A run's first jobs may have follow-ups: a *retry* tries again what board or lab left open, a
*repeat* tells more about a new failure. Every verdict is kept; this says which one counts. Both
sides of the journal use it: a run's exit code must not depend on whether its store could be
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.model import Purpose, Verdict

MAX_REPEATS = 100
"""Times that a new failure may be repeated on a board."""

LEFT_OPEN = frozenset({Verdict.INFRA, Verdict.MISS})
"""Verdicts that a retry may settle: nothing was learnt, and board or lab is why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One job as far as it matters here: ``verdicts`` has the last attempt's, by node id.

    ``follows`` names the jobs whose tests a follow-up tries; ``ok`` says whether it ended in order.
    """

    job: str
    purpose: Purpose
    follows: Sequence[str]
    ok: bool
    verdicts: Mapping[str, Verdict]


def standing(parts: Iterable[Part]) -> dict[str, frozenset[str]]:
    """Return by job the tests whose verdict in that job counts for the run.

    A retry's verdict takes the place of the one that it follows, unless it left the test open, too;
    tests that no job before it had are its own. What a repeat sees never counts.
    """
    listed = list(parts)
    first = {part.job: part for part in listed if part.purpose is Purpose.FIRST}
    stands = {name: set(part.verdicts) for name, part in first.items()}
    for retry in (part for part in listed if part.purpose is Purpose.RETRY):
        followed = [first[name] for name in retry.follows if name in first]
        mine = stands.setdefault(retry.job, set())
        for nodeid, verdict in retry.verdicts.items():
            before = [part for part in followed if nodeid in part.verdicts]
            if not before:
                mine.add(nodeid)
            elif verdict not in LEFT_OPEN:
                for part in before:
                    if part.verdicts[nodeid] in LEFT_OPEN and nodeid in stands[part.job]:
                        stands[part.job].discard(nodeid)
                        mine.add(nodeid)
    return {part.job: frozenset(stands.get(part.job, ())) for part in listed}


def in_order(parts: Iterable[Part]) -> bool:
    """Return whether every first job ended in order, or a retry of it did in its place."""
    listed = list(parts)
    good = made_good(listed)
    return all(part.ok or part.job in good for part in listed if part.purpose is Purpose.FIRST)


def made_good(parts: Iterable[Part]) -> frozenset[str]:
    """Return the jobs of which a retry ended in order."""
    retries = (part for part in parts if part.purpose is Purpose.RETRY and part.ok)
    return frozenset(name for retry in retries for name in retry.follows)
