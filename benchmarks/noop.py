"""The round trip of what does nothing: the payload's, and labgrid's SSHDriver's, in turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from labgrid import Target
from labgrid.driver import SSHDriver
from labgrid.resource import NetworkService

from benchmarks.results import Bench, Figure, Part
from farm.board.channel import PayloadChannel
from farm.board.session import FOLDER, BoardSession
from farm.board.ssh import SshAddress, SshLink

CASE = "self_pass"
"""The payload's case that does nothing but pass."""
WARM_UP = 5
COMMAND_S = 60.0


def in_turn(
    times: int,
    ways: dict[str, Callable[[], Any]],
    *,
    warm_up: int = WARM_UP,
    before: Callable[[], Any] = lambda: None,
) -> dict[str, list[float]]:
    """Return how long each way took in seconds, each time; they take turns.

    ``before`` is done before each, and not counted.
    """
    for way in ways.values():
        for _ in range(warm_up):
            before()
            way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            before()
            began = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - began)
    return found


@contextlib.contextmanager
def labgrid_ssh(address: SshAddress) -> Iterator[Any]:
    """Give labgrid's SSHDriver, connected: one master connection, one ssh process a command."""
    target = Target("benchmark")
    NetworkService(
        target, name=None, address=address.host, username=address.username, port=address.port
    )
    driver = SSHDriver(target, name=None, keyfile=str(address.key))
    target.activate(driver)
    try:
        yield driver
    finally:
        target.cleanup()


def round_trips(
    bench: Bench, part: Part, session: BoardSession, address: SshAddress
) -> tuple[Figure, Figure]:
    """Measure round trips on a session's board; return those of a no-op case and of labgrid's.

    What a case's is made of is measured beside: ``ping`` has no process on the board, ``keepalive``
    does not even reach a program there.
    """
    link = session.link
    assert isinstance(link, SshLink)
    program = f"{FOLDER}/payload-{session.payload.sha256[:16]}"
    channel = PayloadChannel(link.open_channel([program, "serve"]))
    channel.start(COMMAND_S)
    transport = link._transport
    assert transport is not None
    with contextlib.closing(channel), labgrid_ssh(address) as driver:
        times = in_turn(
            bench.times(300, 20),
            {
                "case": lambda: session.run(CASE, {}),
                "ping": lambda: channel.ping(COMMAND_S),
                "keepalive": lambda: transport.global_request("keepalive@openssh.com"),
                "command": lambda: link.run("true", timeout=COMMAND_S),
                "labgrid": lambda: driver.run("true"),
            },
        )
    case = part.add("payload no-op: a case that does nothing", times["case"], "s", tail=True)
    part.add("payload ping: no process on the board", times["ping"], "s", tail=True)
    part.add("SSH request: no program on the board", times["keepalive"], "s", tail=True)
    part.add("a command on our own link: true", times["command"], "s", tail=True)
    theirs = part.add("labgrid SSHDriver.run: true", times["labgrid"], "s", tail=True)
    return case, theirs
