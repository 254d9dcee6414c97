"""Waiting for one of several places, by reservations that labgrid's own scheduler serves.

There is one reservation by name for each place that would do, is online and is not quarantined;
the first that is allocated is taken and the others are cancelled. So jobs queue with each other and
with people, whose reservations and holds are never touched. Places that come and go are followed.

Nothing here sleeps: :meth:`Waiter.step` looks once, and is called again after a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from farm.lab.holding import held_by
from farm.lab.lease import is_ours
from farm.lab.place import Place, Reservation, ReservationState
from farm.lab.turn import Rival, arrival, labgrid_priority
from farm.lab.wanted import Wanted

MAX_TURNS = 8
"""Places that one waiter queues for at the same time; one that is free is reserved besides."""

KEEP_S = 20.0
"""How often a reservation is polled, in seconds: labgrid drops one after 60 s without."""

RANK_S = 10.0
"""How often the queue is looked at again: who is in it, and how many boards the owner holds."""


OPEN = (ReservationState.WAITING, ReservationState.ALLOCATED)

SAME_S = 2.0
"""Difference in seconds at which our clock and the coordinator's count as the same."""


class Queue(Protocol):
    """What a coordinator offers to who waits (:class:`farm.lab.coordinator.Coordinator`)."""

    def places(self) -> dict[str, Place]:
        """Return every place of the lab as it is now, by name."""

    def reservations(self) -> list[Reservation]:
        """Return every reservation of the lab."""

    def reserve(self, filters: Mapping[str, str], *, priority: float = 0.0) -> Reservation:
        """Ask for a place whose tags match all filters."""

    def poll(self, token: str) -> Reservation | None:
        """Return a reservation, None if it is gone; keep it from lapsing."""

    def cancel(self, token: str) -> None:
        """Cancel a reservation, if it is there."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A reservation of ours for one place, and its token."""

    place: str
    token: str
    priority: float


class Waiter:
    """Waits for one place for one job; ``lab`` may be replaced by another connection."""

    def __init__(
        self,
        lab: Queue,
        wanted: Wanted,
        *,
        owner: str = "",
        priority: float = 0.0,
        arrived: float = 0.0,
        barred: Callable[[str], str | None] = lambda name: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take what is wanted, and for whom; nothing is reserved before the first :meth:`step`.

        ``arrived`` is since when the job waits, in seconds since the epoch on the coordinator's
        clock; 0 is from the first reservation on. ``barred`` says why nobody is to get a place.
        """
        self.lab = lab
        self.arrived = arrived
        self.seen: Mapping[str, Place] = {}
        """The lab's places at the last look."""
        self._wanted = wanted
        self._owner = owner
        self._priority = priority
        self._barred = barred
        self._clock = clock
        self._now = now
        self._turns: dict[str, Turn] = {}
        self._kept = self._ranked = clock()
        self._rivals: list[Reservation] = []
        self._held = 0
        self._looked = False

    def step(self) -> Turn | None:
        """Look once: return the place that is ours to acquire now, or None.

        Raises:
            LabError: the coordinator is out of reach, or refuses.
        """
        places = self.seen = self.lab.places()
        self._keep()
        self._look_at_queue(places)
        candidates = self._candidates(places)
        for name in [name for name in self._turns if name not in candidates]:
            self.lab.cancel(self._turns.pop(name).token)
        for name in candidates:
            turn = self._turns.get(name)
            if turn is not None and places[name].reservation == turn.token:
                return self._only(turn)
        for name in candidates:
            turn = self._turn(places[name])
            if turn is not None:
                return self._only(turn)
        return None

    def stop(self) -> None:
        """Wait no more: cancel what is reserved."""
        for name in list(self._turns):
            self.lab.cancel(self._turns.pop(name).token)

    def keep(self, turn: Turn) -> bool:
        """Keep a turn that is not acquired yet from lapsing; return whether it still is ours."""
        now = self.lab.poll(turn.token)
        return now is not None and now.state is ReservationState.ALLOCATED

    def _only(self, turn: Turn) -> Turn:
        del self._turns[turn.place]
        self.stop()
        return turn

    def _candidates(self, places: Mapping[str, Place]) -> list[str]:
        """Return the places to queue for: free ones first, then those that we queue for."""
        ready = [
            place
            for place in places.values()
            if place.online and self._wanted.meets(place) and not self._barred(place.name)
        ]

        def rank(place: Place) -> tuple[bool, bool, bool, str]:
            mine = place.name in self._turns
            return (not place.free, place.name != self._wanted.prefer, not mine, place.name)

        return [place.name for place in sorted(ready, key=rank)][:MAX_TURNS]

    def _keep(self) -> None:
        if self._clock() - self._kept < KEEP_S:
            return
        self._kept = self._clock()
        for name, turn in list(self._turns.items()):
            now = self.lab.poll(turn.token)
            if now is None or now.state not in OPEN:
                del self._turns[name]  # it lapsed, or a person cancelled it: reserved anew
                self.lab.cancel(turn.token)

    def _look_at_queue(self, places: Mapping[str, Place]) -> None:
        if self._looked and self._clock() - self._ranked < RANK_S:
            return
        self._looked = True
        self._ranked = self._clock()
        self._held = held_by(self._owner, places) if self._owner else 0
        self._rivals = [
            one
            for one in self.lab.reservations()
            if one.state is ReservationState.WAITING and not is_ours(one.owner)
        ]

    def _turn(self, place: Place) -> Turn | None:
        """Queue for a place, or queue anew where our turn has moved; return it if it is ours."""
        arrived = self.arrived or self._now()
        had = self._turns.get(place.name)
        priority = self._rank(place, arrived)
        if had is not None and had.priority == priority:
            return None
        made = self.lab.reserve({"name": place.name}, priority=priority)
        allocated = made.state is ReservationState.ALLOCATED
        if had is not None:  # only now, so that we are in the queue all the time
            if not allocated and self.keep(had):
                self.lab.cancel(made.token)
                return had
            self.lab.cancel(had.token)
        if not self.arrived:  # a clock that is nearly the coordinator's is good enough
            self.arrived = arrived if abs(made.created - arrived) < SAME_S else made.created
        turn = self._turns[place.name] = Turn(place.name, made.token, priority)
        return turn if allocated else None

    def _rank(self, place: Place, arrived: float) -> float:
        rivals = [Rival(one.created, one.priority) for one in self._rivals if one.wants(place)]
        return labgrid_priority(arrival(arrived, self._priority, self._held), rivals)
