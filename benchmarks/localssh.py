"""Round trip of a payload no-op against labgrid's SSHDriver, both to a local SSH server."""

from __future__ import annotations

from benchmarks.noop import round_trips
from benchmarks.results import Bench, Part
from benchmarks.sshserver import local_session

WANTED = 10.0


def measure(bench: Bench) -> Part:
    """Measure; without OpenSSH's server, against one in Python, which is slower than either client.

    Raises:
        InfraError: the server does not come up.
    """
    part = Part("localssh")
    with local_session(bench.folder, part) as (session, address):
        case, theirs = round_trips(bench, part, session, address)
    part.compare("labgrid's command to a payload no-op", theirs, case, at_least=WANTED)
    return part
