"""From power-on to the first verdict, against the bare boot of the same image to its SSH banner.

The bare boot is the outlet's switch and a socket, nothing else. Ours is a whole job, from its own
records: the console log says when the power came on, the journal when the first test had a verdict.
What labgrid waits while a board is off comes before either.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import requests

from benchmarks.results import Bench, Part
from benchmarks.virtualboard import BOARD_TYPE, lab_of_one
from farm import events
from farm.board import payload
from farm.errors import InfraError
from farm.inventory import load_board_types
from farm.lab.coordinator import Coordinator, local_host
from farm.lab.lease import new_identity
from farm.lab.virtual import VirtualBoard
from farm.model import Verdict
from farm.run.orchestrator import Job, Orchestrator
from farm.run.plan import Wish, jobs
from farm.run.progress import CONSOLE

SUITE = "cpuaccess/test_cpuaccess.py"
TEST = f"{SUITE}::test_size_is_found_by_seeking[udmabuf-4096]"
"""The first test: one short case."""
WANTED = 1.25
BOOT_S = 120.0
TRY_S = 1.0
PAUSE_S = 0.02
OFF_S = 2.0


class _Quiet:
    """Progress that nobody sees."""

    def update(self, jobs: Sequence[Job]) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def measure(bench: Bench) -> Part:
    """Measure.

    Raises:
        InfraError: the lab or a boot failed, or the test did not pass.
    """
    part = Part("turnaround")
    payload.build()
    bare: list[float] = []
    steps: dict[str, list[float]] = {"booted": [], "ready": [], "session": [], "verdict": []}
    with lab_of_one(bench) as lab:
        (board,) = lab.boards
        for number in range(bench.times(7, 1)):
            bare.append(_bare(board))
            for name, seconds in _ours(lab.coordinator, bench.folder / str(number)).items():
                steps[name].append(seconds)
    least = part.add("bare boot: power-on to SSH banner", bare, "s")
    part.add("a job: power-on to its SSH server up, says its init", steps["booted"], "s")
    part.add("a job: power-on to logged in by SSH", steps["ready"], "s")
    part.add("a job: power-on to session (payload, counters, topology)", steps["session"], "s")
    ours = part.add("a job: power-on to first verdict", steps["verdict"], "s")
    part.compare("first verdict to bare boot", ours, least, at_most=WANTED)
    return part


def _bare(board: VirtualBoard) -> float:
    """Return the seconds from switching the board on to its SSH banner; it is off afterwards."""
    began = time.monotonic()
    _switch(board, on=True)
    while not _banner(board.ssh_port):
        if time.monotonic() - began > BOOT_S:
            raise InfraError(f"{board.place}: no SSH banner within {BOOT_S:g} s")
        time.sleep(PAUSE_S)
    took = time.monotonic() - began
    _switch(board, on=False)
    time.sleep(OFF_S)
    return took


def _banner(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), TRY_S) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _switch(board: VirtualBoard, *, on: bool) -> None:
    try:
        requests.put(board.power_url, data=str(int(on)), timeout=TRY_S * 10).raise_for_status()
    except requests.RequestException as error:
        raise InfraError(f"{board.place}: the outlet does not answer: {error}") from error


def _ours(coordinator: str, folder: Path) -> dict[str, float]:
    """Run a job with one test; return the seconds from power-on to each step."""
    with Coordinator(coordinator, new_identity(local_host())) as lab:
        places = list(lab.places().values())
    wish = Wish(
        run="bench",
        coordinator=coordinator,
        folder=folder,
        suites=[SUITE],
        select={BOARD_TYPE: [TEST]},
    )
    (job,) = Orchestrator(jobs(places, load_board_types(), wish), _Quiet()).run()
    told = list(events.read_journal(job.spec.journal))
    ready = next((one for one in told if isinstance(one, events.BoardReady)), None)
    ended = next((one for one in told if isinstance(one, events.CaseFinished)), None)
    if ready is None or ended is None or ended.verdict is not Verdict.PASS:
        said = ended.reason if ended is not None else job.view.reason
        raise InfraError(f"{TEST} did not pass: {said}", next_step=f"see {job.spec.worker_log}")
    console = job.folder / CONSOLE
    on = _said(console, "-- power on")
    return {
        "booted": _said(console, "farm: ready") - on,
        "ready": _said(console, "-- ready after") - on,
        "session": ready.t - on,
        "verdict": ended.t - on,
    }


def _said(console: Path, words: str) -> float:
    """Return when a line of a console log begins with these words, in seconds since the epoch."""
    found = re.search(rf"^(\S+) {words}", console.read_text(errors="replace"), re.M)
    if found is None:
        raise InfraError(f"{console} has no line {words!r}")
    return datetime.fromisoformat(found[1]).timestamp()
