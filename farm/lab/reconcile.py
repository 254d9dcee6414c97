"""Ending leases whose holder is dead: ours by their records, others' by their heartbeat.

Only identities that :func:`farm.lab.lease.is_ours` knows are ever ended; what a person acquired
with labgrid-client stays theirs. The coordinator compares the holder as it releases, so a place
that has changed hands in between is left alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping

from farm import failpoints
from farm.errors import LabError
from farm.lab import client, records
from farm.lab.coordinator import Coordinator, is_loopback, local_host, normal_address
from farm.lab.holding import BEAT_TAG, LEASE_TAG, TAGS, seconds
from farm.lab.lease import BEAT_S, is_ours, new_identity
from farm.lab.place import Place

STALE_S = 300.0
"""Age in seconds, by our clock, at which a heartbeat looks as if it had stopped."""

BEATS = 3
"""For how many beats such a heartbeat is watched before its lease is ended: two clocks may differ
by more than any limit, but a living keeper goes on beating."""

QUIET_S = BEATS * BEAT_S
"""How long that takes, in seconds."""

LOOK_S = 1.0
"""How often a heartbeat in doubt is looked at."""

CONNECT_S = 5.0
"""How long a machine may take to refuse or to accept a connection to itself, in seconds."""

POWER_S = 75.0
"""How long switching a board off may take: less than a worker waits for its keeper."""

TAKE_BACK_S = 30.0
"""For how long a place that nobody holds is asked for whose board may still be on."""


class Heartbeats:
    """Tells leases whose keeper lives from those whose keeper died, wherever it was.

    ``quiet_s`` is how long a heartbeat that looks old is watched, on this machine's monotonic
    clock; one that is watched for ``STALE_S`` and does not change has stopped however young it
    looks, and so has one that never comes: its keeper died as it had just acquired the place.
    """

    def __init__(
        self,
        *,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Start without having seen any."""
        self.doubtful: list[Place] = []
        """Places whose heartbeat looks old, but was not watched for long enough."""
        self._quiet_s = quiet_s
        self._clock = clock
        self._now = now
        self._seen: dict[str, tuple[tuple[str, float], float]] = {}

    def stopped(self, places: Mapping[str, Place]) -> list[Place]:
        """Look at the places, and return those whose keeper is dead."""
        found, self.doubtful = [], []
        seen, self._seen = self._seen, {}
        for place in places.values():
            if not is_ours(place.holder):
                continue
            mine = place.tags.get(LEASE_TAG) == place.holder
            at = seconds(place.tags.get(BEAT_TAG, "")) if mine else 0.0
            beat = (place.holder, at)
            last, since = seen.get(place.name, (None, 0.0))
            since = since if last == beat else self._clock()
            self._seen[place.name] = (beat, since)
            quiet = self._clock() - since
            old = bool(at) and self._now() - at > STALE_S
            if quiet > STALE_S or (old and quiet >= self._quiet_s):
                found.append(place)
            elif old:
                self.doubtful.append(place)
        return found


def end_dead_leases(
    address: str,
    *,
    beats: Heartbeats | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """End every lease in the lab at ``address`` whose holder is dead; return the places freed.

    Takes ``QUIET_S`` longer where another controller's heartbeat looks old; ``say`` is told so.

    Raises:
        LabError: no coordinator answers there.
    """
    address = normal_address(address)
    _forget_vanished_labs(address)
    freed = []
    with Coordinator(address, new_identity(local_host())) as lab:
        alive = set()
        for path, record in records.read_all():
            if record.coordinator != address:
                continue
            # What this very process recorded was taken for jobs that it has not started.
            if record.alive() and record.pid != os.getpid():
                alive.add(record.identity)
                continue
            place = lab.places().get(record.place)
            if place is not None and place.free and not place.online:
                continue  # its board may be on, which nobody can tell or change now
            if place is not None and place.free:
                _take_back(lab, record)
            if end_lease(lab, record.place, record.identity, record.token):
                freed.append(record.place)
            for waiting in lab.reservations():
                if waiting.owner == record.identity:
                    lab.cancel(waiting.token)
            records.remove(path)
        freed += _end_silent(lab, alive, beats or Heartbeats(), say)
    return freed


def _take_back(lab: Coordinator, record: records.LeaseRecord) -> None:
    """Hold a place again that a dead holder's record says was held, and that nobody holds now.

    labgrid's coordinator forgets who holds what when it restarts, and the board may still be on.
    Where somebody is quicker, or the exporter goes on refusing, it is left alone: one that has only
    just come refuses for some seconds.
    """
    deadline = time.monotonic() + TAKE_BACK_S
    with contextlib.suppress(LabError), Coordinator(lab.address, record.identity) as again:
        while True:
            try:
                return again.acquire(record.place)
            except LabError:
                place = lab.places().get(record.place)
                if place is None or not place.free or time.monotonic() > deadline:
                    return None
            time.sleep(LOOK_S)


def _end_silent(
    lab: Coordinator, alive: Collection[str], beats: Heartbeats, say: Callable[[str], None]
) -> list[str]:
    """End leases whose heartbeat has stopped; those of the identities ``alive`` go on."""
    freed = []
    told = False
    while True:
        others = {k: place for k, place in lab.places().items() if place.holder not in alive}
        for place in beats.stopped(others):
            if end_lease(lab, place.name, place.holder, place.reservation):
                freed.append(place.name)
        if not beats.doubtful:
            return freed
        if not told:
            names = ", ".join(place.name for place in beats.doubtful)
            say(f"{names}: the holder's heartbeat looks old; watching it for {QUIET_S:g} s")
            told = True
        time.sleep(LOOK_S)


def end_lease(
    lab: Coordinator, name: str, identity: str, token: str, *, board_off: bool = True
) -> bool:
    """Switch a place's board off and release it, if ``identity`` still holds it."""
    place = lab.places().get(name)
    held = place is not None and place.holder == identity
    if place is not None and held:
        if board_off:
            power_off(lab.address, place, identity)
        failpoints.hit("lease.off")
        give_back(lab, name, identity, token)
    elif token:
        lab.cancel(token)
    return held


def give_back(lab: Coordinator, name: str, identity: str, token: str) -> None:
    """Release a place, and its heartbeat and reservation with it.

    The release comes last: the heartbeat must not be taken from a next holder, and the coordinator
    gives a place at once to whoever waits for it only if no reservation of ours stands on it.
    """
    lab.set_tags(name, dict.fromkeys(TAGS, ""))
    failpoints.hit("lease.untagged")
    if token:
        lab.cancel(token)
    failpoints.hit("lease.cancelled")
    lab.release(name, holder=identity)


def power_off(address: str, place: Place, identity: str) -> bool:
    """Switch a place's board off as its holder, by labgrid-client; return whether it worked.

    A failure is told on stderr only: a place is released whether or not its outlet answers.
    """
    if not any("Power" in resource.cls for resource in place.resources):
        return False
    words, env = client.command(address, place.name, identity, "power", "off")
    try:
        done = subprocess.run(
            words,
            env=env,
            timeout=POWER_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"{place.name}: power off took more than {POWER_S:g} s", file=sys.stderr)
        return False
    if done.returncode:
        print(f"{place.name}: power off failed ({done.returncode})", file=sys.stderr)
    return done.returncode == 0


def lab_vanished(address: str) -> bool:
    """Tell whether an address is of a lab on this machine that is gone, and its places with it.

    That is so where nobody listens. Of a lab that does not answer, or is elsewhere and cannot be
    reached, nothing is known, so the answer is no.
    """
    if not is_loopback(address):
        return False
    host, _, port = normal_address(address).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _forget_vanished_labs(wanted: str) -> None:
    for path, record in records.read_all():
        if record.coordinator != wanted and not record.alive() and lab_vanished(record.coordinator):
            records.remove(path)
