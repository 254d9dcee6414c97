"""``farm run --together``: no job starts before all boards of the run are had."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from farm.cli.output import err, printable
from farm.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from farm.cli.placing import Placing
    from farm.lab.gang import Gang, Member
    from farm.run.job import Reserved
    from farm.run.plan import Wish

POLL_S = 1.0
"""How often a gang that waits looks, in seconds."""

DEAD_S = 60.0
"""How often it ends leases whose holder has died meanwhile, in seconds."""


def take_together(
    pick: Callable[[], list[str]], placing: Placing, wish: Wish
) -> dict[str, Reserved]:
    """Acquire the places that ``pick`` chooses, and return by name as whom; all of them or none.

    The jobs' keepers take them over. Until then each has a record of this process, so that they are
    given back if it dies, or starts no job (:func:`farm.lab.reconcile.end_dead_leases`).

    Raises:
        LabError: they are not to be had within the time that may be waited.
    """
    from farm.lab.coordinator import Coordinator, local_host, normal_address
    from farm.lab.gang import Gang
    from farm.lab.health import HealthBook
    from farm.lab.holding import marks
    from farm.lab.lease import new_identity
    from farm.run.job import Reserved

    address = normal_address(wish.coordinator)
    written: list[Path] = []
    gang = Gang(
        pick,
        lambda: Coordinator(address, new_identity(local_host())),
        owner=placing.owner,
        priority=placing.priority,
        barred=HealthBook(address).quarantined,
        taking=lambda member: written.append(_record(member, address, wish.run)),
    )
    try:
        _wait(gang, address, wish.wait_s)
        found = {}
        for member in gang.members:
            assert member.turn is not None
            identity = member.lab.identity
            member.lab.set_tags(member.place, marks(identity, wish.run, placing.owner))
            found[member.place] = Reserved(identity=identity, token=member.turn.token)
            member.lab.close()
        return found
    except BaseException:
        from farm.lab import records

        gang.stop()
        for path in written:
            records.remove(path)
        raise


def _wait(gang: Gang, coordinator: str, wait_s: float) -> None:
    from farm.lab.reconcile import end_dead_leases

    looked = time.monotonic()
    deadline = looked + wait_s
    told = ""
    chosen = False
    while True:
        try:
            if gang.step():
                return
        except LabError:
            if not chosen or time.monotonic() >= deadline:
                raise
        chosen = True
        if time.monotonic() - looked > DEAD_S:
            looked = time.monotonic()
            with contextlib.suppress(LabError):
                end_dead_leases(coordinator)
        words = _missing(gang)
        if time.monotonic() >= deadline:
            raise LabError(
                f"not all boards could be had together within {wait_s:g} s: {words}",
                next_step="wait longer with --wait, or ask for other boards; see: farm boards",
            )
        if words != told:
            err().print(printable(f"waiting for all boards together: {words}"))
            told = words
        time.sleep(POLL_S)


def _missing(gang: Gang) -> str:
    """Return what the gang has not got yet, and why."""
    from farm.lab.explain import standing

    if not gang.members:
        return "one was kept from us for long; all are given back for a while"
    now = time.time()
    words = []
    for member in gang.members:
        place = member.waiter.seen.get(member.place)
        if member.turn is None and place is not None:
            words.append(f"{member.place} is {standing(place).words(now)}")
        elif member.turn is None:
            words.append(f"{member.place} comes after it")
    return ", ".join(words) or "all are set aside"


def _record(member: Member, address: str, run: str) -> Path:
    from farm.lab import records

    assert member.turn is not None
    return records.write(
        records.LeaseRecord(
            coordinator=address,
            place=member.place,
            identity=member.lab.identity,
            token=member.turn.token,
            run=run,
            job=member.place,
            **records.this_process(),
        )
    )
