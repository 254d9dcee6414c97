"""Why places are to be had or not, in words: what every refusal and every dry run says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farm.lab.holding import Holding, holding
from farm.lab.place import Place

_MINUTE = 60.0
_HOUR = 3600.0


class State(StrEnum):
    """What keeps a place from being had, or that nothing does; in the order of telling."""

    FREE = "free"
    OFFLINE = "offline"
    QUARANTINED = "quarantined"
    RESERVED = "reserved"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Standing:
    """One place as it stands now.

    ``since`` is since when it is offline, in seconds since the epoch, 0 where that is not known;
    ``lease`` is what holds it, where a lease of ours does; ``reason`` is why it is quarantined.
    """

    place: Place
    state: State
    since: float = 0.0
    lease: Holding | None = None
    reason: str = ""

    def words(self, now: float) -> str:
        """Say it in a few words."""
        match self.state:
            case State.OFFLINE:
                missing = f": {', '.join(self.place.missing)}" if self.place.missing else ""
                return f"offline{_since([self], now)}{missing}"
            case State.QUARANTINED:
                return self.reason
            case State.HELD if self.lease is not None and self.lease.run:
                owner = f" of {self.lease.owner}" if self.lease.owner else ""
                return f"held by run {self.lease.run}{owner}{_left([self.lease], now)}"
            case State.HELD:
                return f"held by {self.place.holder}"
            case _:
                return self.state.value


def standing(place: Place, *, barred: str | None = None, since: float = 0.0) -> Standing:
    """Return how a place stands; ``barred`` is why nobody is to get it."""
    if not place.online:
        return Standing(place, State.OFFLINE, since=since)
    if barred:
        return Standing(place, State.QUARANTINED, reason=barred)
    if place.holder:
        return Standing(place, State.HELD, lease=holding(place))
    return Standing(place, State.RESERVED if place.reservation else State.FREE)


def summary(found: Sequence[Standing], now: float) -> str:
    """Return in one phrase how places stand: ``3 boards match: 1 offline since 02:10, 2 held``."""
    if not found:
        return "no board of this lab matches"
    by_state: dict[State, list[Standing]] = {state: [] for state in State}
    for one in found:
        by_state[one.state].append(one)
    parts = [_part(state, some, now) for state, some in by_state.items() if some]
    noun = "board matches" if len(found) == 1 else "boards match"
    return f"{len(found)} {noun}: {', '.join(parts)}"


def moment(at: float, now: float) -> str:
    """Return a time of day, with its date where that is another than today's."""
    when, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    return f"{when:%H:%M}" if when.date() == today.date() else f"{when:%Y-%m-%d %H:%M}"


def span(seconds: float) -> str:
    """Return how long something takes, as exactly as an estimate deserves."""
    if seconds < 1.5 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 1.5 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.1f} h"


def _part(state: State, some: Sequence[Standing], now: float) -> str:
    match state:
        case State.OFFLINE:
            return f"{len(some)} offline{_since(some, now)}"
        case State.QUARANTINED if len(some) == 1:
            return f"1 {some[0].reason}"
        case State.QUARANTINED:
            return f"{len(some)} quarantined ({', '.join(one.place.name for one in some)})"
        case State.HELD:
            return _held(some, now)
        case _:
            return f"{len(some)} {state.value}"


def _held(some: Sequence[Standing], now: float) -> str:
    leases = [one.lease for one in some if one.lease is not None and one.lease.run]
    parts = []
    if leases:
        runs = list(dict.fromkeys(lease.run for lease in leases))
        noun = "run" if len(runs) == 1 else "runs"
        names = ", ".join(runs[:-1]) + (" and " if runs[1:] else "") + runs[-1]
        parts.append(f"{len(leases)} held ({noun} {names}{_left(leases, now)})")
    others = Counter(one.place.holder for one in some if one.lease is None or not one.lease.run)
    parts += [f"{number} held by {holder}" for holder, number in sorted(others.items())]
    return ", ".join(parts)


def _left(leases: Sequence[Holding], now: float) -> str:
    """Return how long it takes until the first of several leases should end, if anybody knows."""
    known = [left for lease in leases if (left := lease.left_s(now)) is not None]
    if not known:
        return ""
    return f", about {span(min(known))} left" if min(known) else ", overdue"


def _since(some: Sequence[Standing], now: float) -> str:
    known = sorted({one.since for one in some if one.since})
    return f" since {' and '.join(moment(at, now) for at in known[:3])}" if known else ""
