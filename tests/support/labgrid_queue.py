"""labgrid's own scheduler without a network: what a coordinator does with places and reservations.

Reservations are served by ``schedule_reservations`` of labgrid's coordinator itself. What stands
here is how a client's calls get to it: AcquirePlace and ReleasePlace without their exporters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labgrid.remote import common, coordinator

from farm.errors import LabError
from farm.lab.coordinator import reservation_of
from farm.lab.holding import LEASE_TAG, OWNER_TAG
from farm.lab.lease import OWN_USER
from farm.lab.place import Place, Reservation, Resource
from farm.lab.waiting import Waiter
from farm.lab.wanted import Wanted

ANY = Wanted(board_type="sample")

POLL_S = 15.0
"""How often a coordinator serves its reservations though nothing happens (its ``poll``)."""


class _Held:
    """A lock that is held: nothing runs beside a test."""

    def locked(self) -> bool:
        return True


@dataclass
class Lab:
    """A coordinator, and a clock that a test turns."""

    now: float = 1_800_000_000.0
    offline: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.coordinator: Any = coordinator.Coordinator.__new__(coordinator.Coordinator)
        self.coordinator.places = {}
        self.coordinator.reservations = {}
        self.coordinator.clients = {}
        self.coordinator.lock = _Held()
        self.coordinator.save_scheduled = False

    def add(self, name: str, **tags: str) -> None:
        self.coordinator.places[name] = common.Place(name, tags=dict(tags))

    def client(self, identity: str) -> Client:
        return Client(self, identity)

    def holder(self, place: str) -> str:
        return self.coordinator.places[place].acquired or ""

    def passes(self, seconds: float) -> None:
        """Turn the clock on; what a cancelled reservation leaves is given away at the next poll."""
        polls = int((self.now + seconds) // POLL_S) - int(self.now // POLL_S)
        self.now += seconds
        for _ in range(min(polls, 2)):
            self.coordinator.schedule_reservations()

    def restart(self) -> None:
        """Forget what labgrid forgets when its coordinator restarts."""
        self.coordinator.reservations.clear()
        for place in self.coordinator.places.values():
            place.acquired = place.reservation = None

    def lapse(self, token: str) -> None:
        """Let a reservation lapse that nobody has polled."""
        if token in self.coordinator.reservations:
            self.coordinator.reservations[token].timeout = 0.0
            self.coordinator.schedule_reservations()


@dataclass
class Client:
    """What one identity can do, as :class:`farm.lab.coordinator.Coordinator` offers it."""

    lab: Lab
    identity: str

    @property
    def _real(self) -> Any:
        return self.lab.coordinator

    def places(self) -> dict[str, Place]:
        return {
            name: Place(
                name=name,
                tags=dict(raw.tags),
                aliases=frozenset(),
                holder=raw.acquired or "",
                reservation=raw.reservation or "",
                resources=(
                    Resource(
                        "e", name, "NetworkService", "s", name not in self.lab.offline, "", {}
                    ),
                ),
                missing=(),
            )
            for name, raw in self._real.places.items()
        }

    def reservations(self) -> list[Reservation]:
        return [reservation_of(raw) for raw in self._real.reservations.values()]

    def reserve(self, filters: Mapping[str, str], *, priority: float = 0.0) -> Reservation:
        made = common.Reservation(
            owner=self.identity, prio=float(priority), filters={"main": dict(filters)}
        )
        made.created = self.lab.now
        self._real.reservations[made.token] = made
        self._real.schedule_reservations()
        return reservation_of(made)

    def poll(self, token: str) -> Reservation | None:
        found = self._real.reservations.get(token)
        if found is None:
            return None
        found.refresh()
        return reservation_of(found)

    def cancel(self, token: str) -> None:
        if self._real.reservations.pop(token, None) is not None:
            self._real.schedule_reservations()

    def set_tags(self, name: str, tags: Mapping[str, str]) -> None:
        place = self._real.places[name]
        place.tags.update(tags)
        place.tags = {key: value for key, value in place.tags.items() if value}

    def acquire(self, name: str) -> None:
        place = self._real.places[name]
        if place.acquired:
            raise LabError(f"Place {name} is already acquired")
        kept = self._real.reservations.get(place.reservation)
        if kept is not None and kept.owner != self.identity:
            raise LabError(f"Place {name} was not reserved for {self.identity}")
        place.acquired = self.identity
        self._real.schedule_reservations()

    def release(self, name: str, *, holder: str = "") -> None:
        place = self._real.places[name]
        if place.acquired == (holder or self.identity):
            place.acquired = None
            self._real.schedule_reservations()

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Job:
    """A job of the farm with its waiter, as its keeper would have it."""

    lab: Lab
    name: str
    wanted: Wanted = ANY
    owner: str = "ann"
    priority: float = 0.0
    barred: set[str] = field(default_factory=set)
    place: str = ""

    def __post_init__(self) -> None:
        self.client = self.lab.client(f"host/{OWN_USER}{self.name}-00000000")
        self.token = ""
        self.waiter = Waiter(
            self.client,
            self.wanted,
            owner=self.owner,
            priority=self.priority,
            barred=lambda name: "broken" if name in self.barred else None,
            clock=lambda: self.lab.now,
            now=lambda: self.lab.now,
        )

    def step(self) -> bool:
        turn = self.waiter.step()
        if turn is not None:
            self.client.acquire(turn.place)
            self.place, self.token = turn.place, turn.token
            tags = {LEASE_TAG: self.client.identity, OWNER_TAG: self.owner}
            self.client.set_tags(turn.place, tags)
        return turn is not None

    def finish(self) -> None:
        self.client.set_tags(self.place, {LEASE_TAG: "", OWNER_TAG: ""})
        self.client.cancel(self.token)
        self.client.release(self.place)
        self.place = ""


def lab_with(*names: str) -> Lab:
    lab = Lab()
    for name in names:
        lab.add(name, board_type="sample")
    return lab


def tokens(lab: Lab, identity: str) -> int:
    return sum(one.owner == identity for one in lab.coordinator.reservations.values())
