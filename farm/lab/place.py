"""What a labgrid coordinator knows of its places, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """One exported resource of a place; ``available`` says whether its exporter vouches for it."""

    exporter: str
    group: str
    cls: str
    name: str
    available: bool
    holder: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A place as the coordinator knows it now.

    ``holder`` is the ``host/user`` that acquired it, empty when nobody did; ``reservation`` is the
    token of the reservation it is set aside for, or empty; ``missing`` names the match patterns
    that no exported resource answers.
    """

    name: str
    tags: Mapping[str, str]
    aliases: frozenset[str]
    holder: str
    reservation: str
    resources: tuple[Resource, ...]
    missing: tuple[str, ...]

    @property
    def online(self) -> bool:
        """Whether every resource that the place wants is exported and available."""
        return (
            bool(self.resources)
            and not self.missing
            and all(resource.available for resource in self.resources)
        )

    @property
    def free(self) -> bool:
        """Whether nobody holds or has reserved the place."""
        return not self.holder and not self.reservation


class ReservationState(StrEnum):
    """Life of a reservation, in labgrid's words."""

    WAITING = "waiting"
    ALLOCATED = "allocated"
    ACQUIRED = "acquired"
    EXPIRED = "expired"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A wish for a place whose tags match ``filters``; ``place`` is empty until one is allocated.

    labgrid serves the highest ``priority`` first, of equals the one that was ``created`` first, in
    seconds since the epoch on the coordinator's clock.
    """

    token: str
    owner: str
    state: ReservationState
    place: str
    priority: float = 0.0
    created: float = 0.0
    filters: Mapping[str, str] = field(default_factory=dict)

    def wants(self, place: Place) -> bool:
        """Tell whether it would take a place, by the coordinator's rule: tags, and its name."""
        return self.filters.items() <= {**place.tags, "name": place.name}.items()
