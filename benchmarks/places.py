"""A thousand places in one coordinator: how long it takes to choose one and to have it.

The coordinator and the exporter are labgrid's. A placement is what a run does for one board:
connect, learn the lab, choose, reserve, acquire.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.results import Bench, Part
from farm.errors import InfraError
from farm.lab.coordinator import Coordinator, local_host
from farm.lab.lease import Lease, LeaseRequest, new_identity
from farm.lab.place import ReservationState
from farm.lab.placement import TYPE_TAG, Request, choose

TYPES = tuple(f"type-{number}" for number in range(20))
UP_S = 300.0
POLL_S = 0.005
WANTED_S = 60.0


def measure(bench: Bench) -> Part:
    """Measure.

    Raises:
        InfraError: coordinator or exporter do not come up, or a place is not to be had.
    """
    part = Part("places")
    count = bench.times(1000, 40)
    learn: list[float] = []
    decide: list[float] = []
    take: list[float] = []
    whole: list[float] = []
    with _lab(bench, count) as address:
        for number in range(bench.times(100, 5)):
            began = time.perf_counter()
            with Coordinator(address, new_identity(local_host())) as lab:
                places = list(lab.places().values())
                learnt = time.perf_counter()
                (place,) = choose(places, TYPES, Request((TYPES[number % len(TYPES)],)))
                decided = time.perf_counter()
                _have(lab, place.name)
                had = time.perf_counter()
            for times, end, start in (
                (learn, learnt, began),
                (decide, decided, learnt),
                (take, had, decided),
                (whole, had, began),
            ):
                times.append(end - start)  # what was placed stays held, as in a lab that fills up
        leases = [_lease_s(address, bench, f"p{count - 1 - n}") for n in range(bench.times(10, 1))]
    part.add(f"placement among {count} places", whole, "s", tail=True)
    part.add("of it: connect and learn the lab", learn, "s", tail=True)
    part.add("of it: choose", decide, "s", tail=True)
    part.add("of it: reserve and acquire", take, "s", tail=True)
    part.add("a job's lease, its keeper's start included", leases, "s", tail=True)
    part.notes.append(f"{count} places of {len(TYPES)} types, one resource each, one exporter")
    return part


def _have(lab: Coordinator, place: str) -> None:
    token = lab.reserve({"name": place}).token
    deadline = time.monotonic() + WANTED_S
    while (now := lab.poll(token)) is None or now.state is not ReservationState.ALLOCATED:
        if now is None or time.monotonic() > deadline:
            raise InfraError(f"place {place} was not allocated within {WANTED_S:g} s")
        time.sleep(POLL_S)
    lab.acquire(place)


def _lease_s(address: str, bench: Bench, place: str) -> float:
    request = LeaseRequest(
        coordinator=address,
        place=place,
        identity=new_identity(local_host()),
        run="bench",
        job=place,
    )
    began = time.perf_counter()
    lease = Lease.take(request, on_lost=bench.say)
    took = time.perf_counter() - began
    lease.release()
    return took


@contextmanager
def _lab(bench: Bench, count: int) -> Iterator[str]:
    """Give the address of a coordinator that has so many places, all online."""
    exported = bench.folder / "exporter.yaml"
    groups = (
        f"p{number}:\n  NetworkService: {{address: 127.0.0.1, username: root, port: 9}}\n"
        for number in range(count)
    )
    exported.write_text("".join(groups))
    coordinator = _start(bench.folder, "labgrid-coordinator", "-l", "127.0.0.1:0")
    assert coordinator.stdout is not None
    parts = [coordinator]
    try:
        address = coordinator.stdout.readline().split()[-1]
        parts.append(
            _start(bench.folder, "labgrid-exporter", "-c", address, "-n", "bench", exported.name)
        )
        _describe(address, count)
        yield address
    finally:
        for process in reversed(parts):
            process.terminate()
            process.communicate()


def _start(folder: Path, program: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).parent / program), *words],
        cwd=folder,
        stdout=subprocess.PIPE if program.endswith("coordinator") else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _describe(address: str, count: int) -> None:
    with Coordinator(address, new_identity(local_host())) as lab:
        for number in range(count):
            name = f"p{number}"
            lab.add_place(name)
            lab.add_match(name, f"bench/{name}/*")
            lab.set_tags(name, {TYPE_TAG: TYPES[number % len(TYPES)]})
        deadline = time.monotonic() + UP_S
        while not all(place.online for place in lab.places().values()):
            if time.monotonic() > deadline:
                raise InfraError(f"{count} places were not online within {UP_S:g} s")
            time.sleep(0.5)
