"""Several places at once for one run: all of them or none.

labgrid grants one place a reservation, so a gang reserves its places one after the other, in the
order of their names, which is the same for every gang: no two can wait for each other in a circle.
It acquires them only when all are set aside for it. What another job holds comes free in time; what
a person holds may not, so a gang that has been waiting for a person lets go of what it has set
aside, rests, and chooses again. It keeps its turn in the queue meanwhile.

Nothing here sleeps: :meth:`Gang.step` does what can be done now, and is called again after a while.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from farm.errors import LabError
from farm.lab.lease import is_ours
from farm.lab.place import Place
from farm.lab.waiting import Queue, Turn, Waiter
from farm.lab.wanted import Wanted

HOLD_S = 120.0
"""How long places are set aside while a person, or an outage, keeps one that is still missing."""

REST_S = 60.0
"""How long a gang rests then, in seconds, at least; at most twice as long, by chance."""


class Lab(Queue, Protocol):
    """What a coordinator offers to who takes places (:class:`farm.lab.coordinator.Coordinator`)."""

    identity: str

    def set_tags(self, place: str, tags: Mapping[str, str]) -> None:
        """Set tags of a place; an empty value removes its tag."""

    def acquire(self, place: str) -> None:
        """Acquire a place for this identity."""

    def release(self, place: str, *, holder: str = "") -> None:
        """Release a place if this identity holds it."""

    def close(self) -> None:
        """Close the connection; what it acquired stays acquired."""


@dataclass(slots=True)
class Member:
    """One place of a gang: who waits for it, and what it has of it."""

    lab: Lab
    place: str
    waiter: Waiter
    turn: Turn | None = None
    acquired: bool = False


class Gang:
    """Takes several places for one run."""

    def __init__(
        self,
        choose: Callable[[], Sequence[str]],
        connect: Callable[[], Lab],
        *,
        owner: str = "",
        priority: float = 0.0,
        barred: Callable[[str], str | None] = lambda name: None,
        taking: Callable[[Member], None] = lambda member: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take whom to ask for places, each under an identity of its own.

        ``choose`` returns the names of the places to take now, and is asked anew after a rest;
        ``taking`` is called before each place is acquired.
        """
        self.members: list[Member] = []
        self._choose = choose
        self._connect = connect
        self._owner = owner
        self._priority = priority
        self._barred = barred
        self._taking = taking
        self._clock = clock
        self._now = now
        self._chance = chance
        self._arrived = 0.0
        self._rests_until = clock()
        self._stuck_since: float | None = None

    def step(self) -> bool:
        """Go on as far as can be now; return whether all places are ours.

        Raises:
            LabError: nothing can be chosen, or the coordinator is out of reach.
        """
        if self._clock() < self._rests_until:
            return False
        if not self.members:
            self._gather()
        for number, member in enumerate(self.members):
            if member.turn is not None and not member.waiter.keep(member.turn):
                member.turn = None  # it lapsed, or a person cancelled it
            if member.turn is None:
                member.turn = member.waiter.step()
            if member.turn is None:
                self._drop(self.members[number + 1 :])
                self._wait_for(member, holding=number > 0)
                return False
        self._stuck_since = None
        return self._acquire()

    def stop(self) -> None:
        """Give everything back; what cannot be told to the coordinator lapses, or is recorded."""
        for member in reversed(self.members):
            with contextlib.suppress(LabError):
                member.waiter.stop()
                if member.turn is not None:
                    member.lab.cancel(member.turn.token)
                if member.acquired:
                    member.lab.release(member.place)
            member.lab.close()
        self.members = []
        self._stuck_since = None

    def _gather(self) -> None:
        for name in sorted(self._choose()):
            lab = self._connect()
            waiter = Waiter(
                lab,
                Wanted(names=(name,)),
                owner=self._owner,
                priority=self._priority,
                arrived=self._arrived,
                barred=self._barred,
                clock=self._clock,
                now=self._now,
            )
            self.members.append(Member(lab, name, waiter))

    def _drop(self, later: Sequence[Member]) -> None:
        """Let go of what comes after a place that is missing: only the order keeps us apart."""
        for member in later:
            if member.turn is not None:
                member.lab.cancel(member.turn.token)
                member.turn = None

    def _wait_for(self, member: Member, *, holding: bool) -> None:
        self._arrived = self._arrived or member.waiter.arrived
        if not holding or _comes_free(member.place, member.waiter.seen):
            self._stuck_since = None
            return
        if self._stuck_since is None:
            self._stuck_since = self._clock()
        elif self._clock() - self._stuck_since >= HOLD_S:
            self._rest()

    def _acquire(self) -> bool:
        for member in self.members:
            try:
                self._taking(member)
                member.lab.acquire(member.place)
                member.acquired = True
            except LabError:
                self._rest()
                return False
        return True

    def _rest(self) -> None:
        self.stop()
        self._rests_until = self._clock() + REST_S * (1.0 + self._chance())


def _comes_free(name: str, places: Mapping[str, Place]) -> bool:
    """Tell whether a place is held by a job, which ends, and not by a person or an outage."""
    place = places.get(name)
    return place is not None and place.online and is_ours(place.holder)
