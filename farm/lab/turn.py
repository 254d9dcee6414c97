"""Whose turn it is: one queue for jobs of every owner and for people with labgrid-client.

labgrid gives a place to the waiting reservation with the highest priority, of equals to the oldest
(``schedule_reservations`` of its coordinator). A reservation's priority is fixed when it is made.
A fair priority grows while one waits and falls with each board that the owner holds:

    priority + waited / ageing - held * share

All who wait grow older equally fast, so the order among them does not change by waiting. It is the
order of their *virtual arrival*,

    arrived - ageing * (priority - held * share)

so that nothing has to be renewed just because time goes by. Nobody waits for ever: who comes late
enough is behind, whatever their priority. People's reservations stand in the same queue, by the
time and the priority that labgrid knows of them; :func:`labgrid_priority` translates a place in
the queue into a priority between theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

AGEING_S = 600.0
"""Seconds of waiting that outweigh one unit of priority."""

SHARE = 1.0
"""Units of priority that each board costs which the owner holds already."""

MAX_PRIORITY = 1000.0
"""Priorities are between this and its negative: a week of waiting outweighs any."""

_SPAN_S = 1e11
"""Longer than any time since the epoch, in seconds; doubles near 1 tell 1e-5 s of it apart."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A reservation of somebody who is not ours, for a place that we wait for.

    ``created`` is in seconds since the epoch on the coordinator's clock.
    """

    created: float
    priority: float

    @property
    def arrival(self) -> float:
        """Its virtual arrival: nothing is known of an owner, so nothing is shared."""
        return arrival(self.created, self.priority)


def arrival(arrived: float, priority: float, held: int = 0) -> float:
    """Return a virtual arrival; who has the earlier one is served first.

    ``arrived`` is in seconds since the epoch, ``held`` how many boards the owner holds.
    """
    return arrived - AGEING_S * (priority - held * SHARE)


def labgrid_priority(own: float, rivals: Iterable[Rival]) -> float:
    """Return the priority of a reservation with which labgrid serves us in our turn.

    ``own`` is our virtual arrival. Below every rival that comes before us, else above every one
    there is. Among those of us who see the same rivals an earlier arrival has a higher priority.
    """
    before: list[float] = []
    after = [0.0]
    for rival in rivals:
        (before if rival.arrival <= own else after).append(rival.priority)
    later = min(max(own / _SPAN_S, 0.0), 1.0 - 1e-9)
    return (min(before) if before else max(after) + 1.0) - max(later, 1e-9)
