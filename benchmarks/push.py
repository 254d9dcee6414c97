"""Pushing the payload: cold against scp, and warm, when its bytes are there already."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from benchmarks.noop import COMMAND_S, in_turn, labgrid_ssh
from benchmarks.results import Bench, Part
from benchmarks.sshserver import local_session
from benchmarks.virtualboard import booted
from farm.board.session import BoardSession
from farm.board.ssh import SshAddress
from farm.errors import InfraError

THERE = "/tmp/farm-bench-copy"
"""Where on the board what is compared with puts its copy."""


def measure(bench: Bench) -> Part:
    """Measure on this machine, where scp works, and on a virtual board, which has no scp.

    Raises:
        InfraError: a server or a board does not come up, or a copy did not arrive.
    """
    part = Part("push")
    with local_session(bench.folder, part) as (session, address), labgrid_ssh(address) as driver:
        path = str(session.payload.path)
        theirs = "scp (labgrid SSHDriver.put), local sshd"
        _compare(bench, part, session, "local sshd", theirs, lambda: driver.put(path, THERE))
    with booted(bench) as (session, address):
        part.notes.append(
            "a virtual board's image has neither scp nor sftp: ssh with `cat` stands in for it"
        )
        theirs = "ssh cat, virtual board"
        _compare(bench, part, session, "virtual board", theirs, lambda: _cat(session, address))
    return part


def _compare(
    bench: Bench,
    part: Part,
    session: BoardSession,
    where: str,
    theirs: str,
    copy: Callable[[], Any],
) -> None:
    size = session.payload.path.stat().st_size
    program = session.push()
    name = f"cold push, {where}"
    times = in_turn(
        bench.times(20, 3),
        {name: lambda: _cold(session, program), theirs: copy},
        warm_up=0,
        before=lambda: session.link.run(f"rm -f {program} {THERE}", timeout=COMMAND_S),
    )
    cold = part.add(name, times[name], "s")
    again = f"warm push, {where}"
    warm = in_turn(bench.times(50, 5), {again: lambda: _warm(session, where)}, warm_up=1)
    part.add(again, warm[again], "s")
    copied = part.add(theirs, times[theirs], "s")
    _same_size(session, size)
    part.notes.append(f"{where}: the payload has {size} bytes, a warm push sent 0 of them")
    part.compare(f"copying otherwise to a cold push, {where}", copied, cold)


def _cold(session: BoardSession, program: str) -> None:
    session.push()
    if not session.pushed:
        raise InfraError(f"{program} was removed, and yet nothing was pushed")


def _warm(session: BoardSession, where: str) -> None:
    session.push()
    if session.pushed:
        raise InfraError(f"a warm push on the {where} sent the payload again")


def _cat(session: BoardSession, address: SshAddress) -> None:
    words = ["ssh", "-F", "none", "-x", "-i", str(address.key), "-p", str(address.port)]
    words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
    words += ["-o", "LogLevel=ERROR", f"{address.username}@{address.host}", f"cat > {THERE}"]
    with session.payload.path.open("rb") as stream:
        subprocess.run(words, stdin=stream, check=True, timeout=COMMAND_S)


def _same_size(session: BoardSession, size: int) -> None:
    done = session.link.run(f"wc -c < {THERE}; rm {THERE}", timeout=COMMAND_S)
    if int(done.stdout) != size:
        raise InfraError(f"the copy has {done.stdout!r} bytes, the payload {size}")
