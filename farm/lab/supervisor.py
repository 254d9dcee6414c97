"""The process above a virtual lab: starts coordinator, rack and exporter, and ends all together.

Its children die with it, whatever kills it (``PR_SET_PDEATHSIG``), and the boards die with the
rack. When one child ends by itself, the lab has failed: the reason is recorded and the rest taken
down. A temporary lab ends when stdin closes, which its starter holds open.

Run as ``python -m farm.lab.supervisor NAME`` with ``lab.json`` in place; reports on stdout with one
line of JSON: ``{"up": true}`` or ``{"error": …, "next_step": …}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import yaml

from farm.errors import FarmError, LabError
from farm.lab import files, processes
from farm.lab.files import BoardSpec, LabRecord, LabState, Outlets, RackSpec
from farm.lab.health import HealthBook

START_S = 60.0
"""Time for one part of the lab to come up; a loaded machine needs seconds."""

_BLAME_S = 1.0
"""How long is looked for what else ended when a part of the lab did."""

END_S = 6.0
"""Time that a part gets to end by itself: the coordinator grants its clients 5 s."""

EXPORTER = "rack"
"""Name of the exporter in match patterns."""

LOOPBACK = "127.0.0.1,localhost"
_LINE = 1 << 16


def environment() -> dict[str, str]:
    """Return the environment of every part: loopback is never reached through a proxy."""
    return {**os.environ, "NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK}


def resource_classes(board: BoardSpec) -> tuple[str, ...]:
    """Return the labgrid resources that a board has; an exact board has no network."""
    always = ("NetworkPowerPort", "NetworkSerialPort")
    return always if board.exact else (*always, "NetworkService")


def resources(boards: tuple[BoardSpec, ...], outlets: Outlets) -> dict[str, dict[str, object]]:
    """Return the exporter's configuration: one group per board, labgrid's stock classes only."""
    power = f"http://127.0.0.1:{outlets.http}/boards/{{index}}/power"
    found: dict[str, dict[str, object]] = {}
    for number, board in enumerate(boards):
        offered: dict[str, object] = {
            "NetworkPowerPort": {"model": "rest", "host": power, "index": number},
            "NetworkSerialPort": {
                "host": "127.0.0.1", "port": outlets.serial[number], "protocol": "raw",
            },
            "NetworkService": {
                "address": "127.0.0.1", "username": "root", "port": outlets.ssh[number],
            },
        }  # fmt: skip
        found[board.place] = {cls: offered[cls] for cls in resource_classes(board)}
    return found


class _Part:
    """One child: its process, and its output, which goes to a log file and to who waits for it."""

    def __init__(self, role: str, process: asyncio.subprocess.Process, log: TextIO) -> None:
        self.role = role
        self.process = process
        self._log = log
        self._log_path = log.name
        self._recent = ""

    @classmethod
    async def start(cls, role: str, argv: list[str], folder: Path) -> _Part:
        log = (folder / f"{role}.log").open("w", encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "--", *argv,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, cwd=folder, env=environment(), limit=_LINE,
        )  # fmt: skip
        return cls(role, process, log)

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first line of output that matches; what follows is logged as it comes."""
        try:
            async with asyncio.timeout(START_S):
                while line := await self._line():
                    if match := re.search(pattern, line):
                        return match
        except TimeoutError:
            raise LabError(
                f"the virtual lab's {self.role} is not ready after {START_S:g} s",
                next_step=f"see {self._log_path}; the machine may be too busy",
            ) from None
        raise LabError(
            f"the virtual lab's {self.role} ended at once: {self._recent.strip()[-300:]}",
            next_step=f"see {self._log_path}",
        )

    async def _line(self) -> str:
        assert self.process.stdout is not None
        try:
            line = (await self.process.stdout.readline()).decode("utf-8", "replace")
        except ValueError:  # a line beyond the limit
            line = "…\n"
        self._log.write(line)
        self._log.flush()
        self._recent = (self._recent + line)[-2000:]
        return line

    async def drain(self) -> str:
        """Log all output until the process ends; return its last words."""
        while await self._line():
            pass
        await self.process.wait()
        return self._recent

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        self._log.close()


def _register(address: str, boards: tuple[BoardSpec, ...]) -> None:
    """Create the places, and make sure that every one has its resources."""
    # Imported here, after the fork of every child: gRPC's threads and forks do not mix.
    from farm.lab.coordinator import Coordinator, local_host

    with Coordinator(address, f"{local_host()}/lab-{os.getpid()}") as coordinator:
        for board in boards:
            coordinator.add_place(board.place)
            coordinator.set_tags(board.place, board.tags)
            for cls in resource_classes(board):
                coordinator.add_match(board.place, f"{EXPORTER}/{board.place}/{cls}")
        names = [board.place for board in boards]
        if not coordinator.wait_for(
            lambda seen: all(n in seen and seen[n].online for n in names), START_S
        ):
            raise LabError(
                f"the virtual lab's exporter does not offer {', '.join(names)}",
                next_step="see exporter.log in the lab's folder",
            )


class Supervisor:
    """One virtual lab from start to end."""

    def __init__(self, record: LabRecord) -> None:
        """Supervise the lab that a record describes."""
        self._record = record
        self._folder = files.folder(record.name)
        self._parts: list[_Part] = []
        self._ending = asyncio.Event()

    def _save(self, changes: Mapping[str, object]) -> None:
        self._record = self._record.model_copy(update=dict(changes))
        files.save(self._record)

    async def _start_part(self, role: str, *argv: str) -> _Part:
        part = await _Part.start(role, [sys.executable, "-u", "-m", *argv], self._folder)
        self._parts.append(part)
        known = self._record.processes
        self._save({"processes": (*known, processes.identify(role, part.process.pid))})
        return part

    async def _start(self) -> None:
        boards = self._record.boards
        spec = self._folder / "rack.json"
        spec.write_text(RackSpec(folder=self._folder, boards=boards).model_dump_json())
        coordinator = await self._start_part(
            "coordinator", "labgrid.remote.coordinator", "--listen", "127.0.0.1:0"
        )
        rack = await self._start_part("rack", "farm.lab.rack", str(spec))
        address = (await coordinator.wait_for(r"listening on (\S+)"))[1]
        outlets = Outlets.model_validate_json((await rack.wait_for(r"^\{.*\}$"))[0])
        exported = self._folder / "exporter.yaml"
        exported.write_text(yaml.safe_dump(resources(boards, outlets)))
        exporter = await self._start_part(
            "exporter", "labgrid.remote.exporter", "--name", EXPORTER,
            "--hostname", "localhost", "--coordinator", address, exported.name,
        )  # fmt: skip
        await exporter.wait_for("Exporter ready")
        HealthBook(address).forget()  # a lab that died before may have had the same port
        self._save({"coordinator": address, "outlets": outlets})

    async def run(self) -> None:
        """Bring the lab up, report, and keep it until told to end or a part ends by itself."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ending.set)
        if self._record.temporary:
            loop.add_reader(sys.stdin.fileno(), self._lifeline)
        ending = asyncio.create_task(self._ending.wait())
        starting = asyncio.create_task(self._bring_up())
        try:
            await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return
            starting.result()
            _report({"up": True})
            drains = [asyncio.create_task(part.drain()) for part in self._parts]
            await asyncio.wait([*drains, ending], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():  # what ended takes others with it: the first one is to blame
                await asyncio.wait([*drains, ending], timeout=_BLAME_S)
            for part, drain in zip(self._parts, drains, strict=True):
                if drain.done() and not ending.done():
                    code = part.process.returncode
                    raise LabError(f"the virtual lab's {part.role} ended by itself (status {code})")
        except FarmError as error:
            self._save({"state": LabState.FAILED, "reason": error.message})
            _report({"error": error.message, "next_step": error.next_step})
        finally:
            starting.cancel()
            await asyncio.gather(*(part.end() for part in self._parts))
            if self._record.coordinator:
                HealthBook(self._record.coordinator).forget()
            if self._record.state is not LabState.FAILED:
                files.forget(self._record.name)

    async def _bring_up(self) -> None:
        await self._start()
        await asyncio.to_thread(_register, self._record.coordinator, self._record.boards)
        self._save({"state": LabState.UP})

    def _lifeline(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._ending.set()


def _report(message: Mapping[str, object]) -> None:
    """Tell the starter, if it still listens."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(message).encode() + b"\n")


def main(name: str) -> None:
    """Supervise the lab of this name, whose record the starter has written."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    record = files.load(name)
    if record is None:
        sys.exit(f"no lab {name!r} to supervise")
    own = processes.identify("supervisor", os.getpid())
    record = record.model_copy(update={"processes": (own,)})
    files.save(record)
    asyncio.run(Supervisor(record).run())


if __name__ == "__main__":
    main(sys.argv[1])
