"""What a leased place says of its lease: tags that every controller and every person can read.

The keeper sets them when it has the place, renews the heartbeat, and removes them before it
releases. What they say is somebody else's word: it is bounded, and of no weight but for telling.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from farm.lab.place import Place

LEASE_TAG = "farm_lease"
"""Tag of a leased place: the identity that a heartbeat belongs to."""

BEAT_TAG = "farm_beat"
"""Tag of a leased place: when its keeper last lived, in seconds since the epoch."""

RUN_TAG = "farm_run"
OWNER_TAG = "farm_owner"
UNTIL_TAG = "farm_until"
"""Tag of a leased place: when the job is expected to end, in seconds since the epoch."""

TAGS = (LEASE_TAG, BEAT_TAG, RUN_TAG, OWNER_TAG, UNTIL_TAG)

_SECONDS = re.compile(r"[0-9]{1,12}")

MAX_TEXT = 64
"""Characters that are taken of a tag."""

OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
"""What an owner's name may be made of: it stands in a tag."""


def marks(identity: str, run: str, owner: str, until: float = 0.0) -> dict[str, str]:
    """Return the tags of a place that a lease holds now; ``until`` is 0 where nobody knows."""
    return {
        LEASE_TAG: identity,
        BEAT_TAG: str(int(time.time())),
        RUN_TAG: run,
        OWNER_TAG: owner,
        UNTIL_TAG: str(int(until)) if until else "",
    }


@dataclass(frozen=True, slots=True)
class Holding:
    """Which run holds a place, for whom, and until when as far as one can say (0: unknown)."""

    run: str
    owner: str
    until: float

    def left_s(self, now: float) -> float | None:
        """Return the seconds that are left, 0 where it should be over, None if nobody knows."""
        return max(0.0, self.until - now) if self.until else None


def holding(place: Place) -> Holding | None:
    """Return what a place's tags say of the lease that holds it; None where no lease of ours does.

    Tags that a lease of before has left do not count.
    """
    if not place.holder or place.tags.get(LEASE_TAG) != place.holder:
        return None
    run, owner = (place.tags.get(tag, "")[:MAX_TEXT] for tag in (RUN_TAG, OWNER_TAG))
    return Holding(run, owner, seconds(place.tags.get(UNTIL_TAG, "")))


def seconds(text: str) -> float:
    """Return the time since the epoch that a tag says, 0 where it says none."""
    return float(text) if _SECONDS.fullmatch(text) else 0.0


def held_by(owner: str, places: Mapping[str, Place]) -> int:
    """Return how many places leases of an owner hold."""
    found = map(holding, places.values())
    return sum(1 for one in found if one is not None and one.owner == owner)
