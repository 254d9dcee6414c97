"""Round trip of a payload no-op against labgrid's SSHDriver, both on one virtual board."""

from __future__ import annotations

from benchmarks.noop import round_trips
from benchmarks.results import Bench, Part
from benchmarks.virtualboard import booted

WANTED = 4.0


def measure(bench: Bench) -> Part:
    """Measure.

    Raises:
        InfraError: the lab or the board does not come up.
    """
    part = Part("roundtrip")
    with booted(bench) as (session, address):
        case, theirs = round_trips(bench, part, session, address)
    part.compare("labgrid's command to a payload no-op", theirs, case, at_least=WANTED)
    return part
