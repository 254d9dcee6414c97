"""Ending leases whose holder is dead: ours by their records, others' by their heartbeat.

Only identities that :func:`farm.lab.lease.is_ours` knows are ever ended; what a person acquired
with labgrid-client stays theirs. The coordinator compares the holder as it releases, so a place
that has changed hands in between is left alone.
"""

from __future__ import annotations

import subprocess
import sys
import time

from farm import failpoints
from farm.errors import LabError
from farm.lab import client, records
from farm.lab.coordinator import Coordinator, is_loopback, local_host, normal_address
from farm.lab.lease import is_ours, new_identity
from farm.lab.place import Place

LEASE_TAG = "farm_lease"
"""Tag of a leased place: the identity that a heartbeat belongs to."""

BEAT_TAG = "farm_beat"
"""Tag of a leased place: when its keeper last lived, in seconds since the epoch."""

STALE_S = 300.0
"""Age at which a heartbeat counts as stopped: far above any difference between two clocks."""

VANISHED_S = 5.0
"""How long a coordinator on this machine may take to answer before it counts as gone."""

POWER_S = 30.0
"""How long switching a board off may take."""


def end_dead_leases(address: str, *, now: float | None = None) -> list[str]:
    """End every lease in the lab at ``address`` whose holder is dead; return the places freed.

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
            if record.alive():
                alive.add(record.identity)
                continue
            if end_lease(lab, record.place, record.identity, record.token):
                freed.append(record.place)
            records.remove(path)
        for place in lab.places().values():
            stopped = _stopped_beating(place, time.time() if now is None else now)
            if place.holder in alive or not stopped:
                continue
            if end_lease(lab, place.name, place.holder, place.reservation):
                freed.append(place.name)
    return freed


def end_lease(lab: Coordinator, name: str, identity: str, token: str) -> bool:
    """Switch a place's board off and release it, if ``identity`` still holds it."""
    place = lab.places().get(name)
    held = place is not None and place.holder == identity
    if place is not None and held:
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
    lab.set_tags(name, {LEASE_TAG: "", BEAT_TAG: ""})
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


def _stopped_beating(place: Place, now: float) -> bool:
    if not is_ours(place.holder) or place.tags.get(LEASE_TAG) != place.holder:
        return False
    beat = place.tags.get(BEAT_TAG, "")
    return beat.isdigit() and now - int(beat) > STALE_S


def lab_vanished(address: str) -> bool:
    """Tell whether an address is of a lab on this machine that is gone, and its places with it.

    Of a lab elsewhere that cannot be reached nothing is known, so the answer is no.
    """
    if not is_loopback(address):
        return False
    try:
        Coordinator(address, new_identity(local_host()), connect_s=VANISHED_S).close()
    except LabError:
        return True
    return False


def _forget_vanished_labs(wanted: str) -> None:
    for path, record in records.read_all():
        if record.coordinator != wanted and not record.alive() and lab_vanished(record.coordinator):
            records.remove(path)
