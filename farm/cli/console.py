"""``farm console``: a board's console in this terminal."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.labs import CoordinatorOption, lab_address
from farm.cli.output import JsonFlag, err, print_json, printable
from farm.errors import BoardError, InfraError, LabError, UsageError

if TYPE_CHECKING:
    from farm.lab.place import Place
    from farm.run.joblist import JobEntry

app = typer.Typer()

RUN = "console"
"""The run that the lease of a console belongs to."""

READER_S = 60.0
"""How long labgrid-client may take to come to the board's line. Then it goes on without it."""

LAST_WORDS_S = 5.0
"""How long labgrid-client may take to end once it was asked to."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the console is to be had.

    ``through`` is ``job`` (a job of this controller that runs: its stream, at ``address``),
    ``hold`` (the user holds the board) or ``lease`` (the board is free: a lease of our own).
    """

    board: str
    through: str
    coordinator: str = ""
    holder: str = ""
    run: str = ""
    address: str = ""


@app.command()
def console(
    board: Annotated[str, typer.Argument(metavar="BOARD", show_default=False)],
    on: Annotated[
        bool,
        typer.Option("--on", help="Switch the board on (off before), to see it boot."),
    ] = False,
    typing: Annotated[
        bool,
        typer.Option(
            "--type", help="Where a job runs on the board: send what is typed, into its test."
        ),
    ] = False,
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Open a board's console in this terminal.

    Where a job of yours runs on the board, you read along (--type to type as well); Ctrl-] leaves.
    A board that you hold with labgrid-client, or that is free, gets labgrid-client's console;
    microcom is left by Ctrl-\\ and `quit`. A free board is leased meanwhile, and is off
    afterwards. A board that somebody else holds is left alone. --json tells how it would be done.

    Examples:

      farm console virt-smmuv3-1 --on

      farm logs virt-smmuv3-1 -f          to read without a terminal, and what came before

    Exits 3 if the board cannot be had.
    """
    way = find(board, coordinator, on=on)
    if as_json:
        print_json(asdict(way))
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "farm console wants a terminal", next_step=f"to read without one: farm logs {board} -f"
        )
    if way.through == "job":
        _read_along(way, typing=typing)
    elif way.through == "hold":
        _run_client(way, way.holder, on=on)
    else:
        _with_lease(way, on=on)


def find(board: str, coordinator: str | None, *, on: bool) -> Way:
    """Return how a board's console is to be had; ``on`` asks for its power as well.

    Raises:
        UsageError: there is no such board, it has no console, or no power control.
        BoardError: somebody else holds it, it is offline, or its job records no console.
        LabError: no lab is at hand.
    """
    from farm.run import joblist

    entry = joblist.current(joblist.entries(board, coordinator or ""))
    if entry is not None and entry.alive():
        if on:
            raise BoardError(f"board {board}: run {entry.run} has it, and switches it")
        return _of_job(entry)
    from farm.lab import client
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.explain import standing
    from farm.lab.lease import new_identity
    from farm.lab.placement import check_names

    with Coordinator(lab_address(coordinator), new_identity(local_host())) as lab:
        places = lab.places()
        check_names([board], places, ())
        place = places[board]
        _check(place, on=on)
        if not place.holder:
            return Way(board, "lease", lab.address)
        if place.holder == client.own_identity():
            return Way(board, "hold", lab.address, place.holder)
        raise BoardError(
            f"board {board} is {standing(place).words(time.time())}",
            next_step="wait until it is released; see: farm watch",
        )


def _check(place: Place, *, on: bool) -> None:
    if not place.online:
        missing = ", ".join(place.missing) or "resources that are unavailable"
        raise BoardError(f"board {place.name} is offline: {missing}")
    kinds = [resource.cls for resource in place.resources]
    if not any("Serial" in kind for kind in kinds):
        raise UsageError(f"board {place.name} has no console: its place has no serial port")
    if on and not any("Power" in kind for kind in kinds):
        raise UsageError(f"--on: board {place.name} has no power control")


def _of_job(entry: JobEntry) -> Way:
    from farm.board.recorder import PORT_FILE

    try:
        address = (entry.folder / PORT_FILE).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise BoardError(
            f"board {entry.board}: run {entry.run} has it, and does not record its console now",
            next_step=f"see how far it is: farm watch; its files are in {entry.folder}",
        ) from None
    return Way(entry.board, "job", entry.coordinator, run=entry.run, address=address)


def _read_along(way: Way, *, typing: bool) -> None:
    from farm.cli import terminal

    does = "what you type goes into its test" if typing else "reading only"
    greeting = printable(f"== {way.board}: run {way.run} has it; {does}; Ctrl-] leaves ==")
    host, _, port = way.address.rpartition(":")
    try:
        left = terminal.connect((host, int(port)), greeting, typing=typing)
    except (OSError, ValueError):
        raise BoardError(
            f"board {way.board}: the console's stream at {way.address} is gone"
        ) from None
    _say("" if left else f"== {way.board}: the recording has ended ==")


def _with_lease(way: Way, *, on: bool) -> None:
    from farm.lab.coordinator import local_host
    from farm.lab.lease import Lease, LeaseRequest, new_identity

    request = LeaseRequest(
        coordinator=way.coordinator,
        place=way.board,
        identity=new_identity(local_host()),
        run=RUN,
        job=way.board,
    )
    lost: list[str] = []
    lease = Lease.take(request, on_lost=lost.append)
    try:
        _run_client(way, request.identity, on=on)
    finally:
        _say(f"== {way.board}: switching off, releasing ==")
        if not lost:
            lease.release(board_off=True)
    if lost:
        raise LabError(f"the lease ended before: {lost[0]}")


def _run_client(way: Way, identity: str, *, on: bool) -> None:
    """Run labgrid-client's console as the board's holder; it ends by itself if the hold does."""
    from farm.lab import client

    words, env = client.command(way.coordinator, way.board, identity, "console")
    shown = subprocess.Popen(words, env=env)
    try:
        if on:  # connecting, then, takes less than the off-time of a power cycle
            _await_reader(shown)
            _switch_on(way, identity)
        status = shown.wait()
    except BaseException:
        shown.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            shown.wait(LAST_WORDS_S)
        raise
    if status:
        raise InfraError(f"board {way.board}: labgrid-client's console ended with {status}")


def _await_reader(shown: subprocess.Popen[bytes]) -> None:
    """Wait until labgrid-client has started what shows the line, or has ended."""
    started = Path(f"/proc/{shown.pid}/task/{shown.pid}/children")  # forked by its main thread
    deadline = time.monotonic() + READER_S
    while shown.poll() is None and time.monotonic() < deadline:
        try:
            if started.read_text().strip():
                return
        except OSError:
            return  # a kernel that does not tell
        time.sleep(0.05)


def _switch_on(way: Way, identity: str) -> None:
    from farm.lab import client

    words, env = client.command(way.coordinator, way.board, identity, "power", "cycle")
    done = subprocess.run(
        words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise BoardError(f"board {way.board}: power cycle failed: {said}")


def _say(text: str) -> None:
    err().print(printable(text), soft_wrap=True)
