"""The rack: a process that offers QEMU boards the way a shelf offers real ones.

Each board has an outlet over HTTP (labgrid's power model ``rest``), a serial line over raw TCP and
a TCP port that leads to its SSH server. All ports are free ones on loopback and stay the same while
boards are switched on and off. A board with firmware of its own finds its kernel, as ``Image``, and
``initrd`` on the TFTP server of its network or on its disk. Paths, N counting from 0:

====== ======================= ====================================================
GET    ``/boards/N/power``     ``0`` or ``1``
PUT    ``/boards/N/power``     body ``0`` or ``1``; answers when it is done
GET    ``/boards/N/fault``     a fault, such as ``none`` or ``hang:20``
PUT    ``/boards/N/fault``     body: a fault, see :mod:`farm.lab.faults`; ``none`` heals
GET    ``/boards/N/archive``   SHA-256 of what is appended to the image's initramfs, or ``none``
PUT    ``/boards/N/archive``   body: a cpio archive to append from the next power-on on, or empty
====== ======================= ====================================================

Run as ``python -m farm.lab.rack SPEC.json``; prints its ports as one line of JSON when it is ready.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import sys
from pathlib import Path

from farm.errors import UsageError
from farm.lab import web
from farm.lab.faults import Injected
from farm.lab.files import Outlets, RackSpec
from farm.lab.slot import Slot

_PATH = re.compile(r"/boards/(\d{1,4})/(power|fault|archive)")

MAX_ARCHIVE = 64 << 20
"""Bytes of an archive that is appended to an image."""


def _max_body(path: str) -> int:
    return MAX_ARCHIVE if path.endswith("/archive") else web.MAX_BODY


class Rack:
    """All slots and the HTTP port in front of them."""

    def __init__(self, spec: RackSpec) -> None:
        """Describe the rack; :meth:`open` makes it reachable."""
        self._boards = spec.boards
        self._slots = [
            Slot(board, spec.folder, random.Random(number))
            for number, board in enumerate(spec.boards)
        ]
        self._server: asyncio.Server | None = None

    async def open(self) -> Outlets:
        """Open every port and return them."""
        self._server = await web.serve(self._handle, max_body=_max_body)
        for slot, board in zip(self._slots, self._boards, strict=True):
            await slot.set_fault(Injected.parse(board.fault))
        return Outlets(
            http=web.port(self._server),
            serial=tuple([await slot.serial.open() for slot in self._slots]),
            ssh=tuple([await slot.ssh.open() for slot in self._slots]),
        )

    async def close(self) -> None:
        """Switch every board off and close every port."""
        if self._server is not None:
            self._server.close()
        for slot in self._slots:
            await slot.close()

    async def _handle(self, request: web.Request) -> web.Response:
        match = _PATH.fullmatch(request.path)
        if match is None or int(match[1]) >= len(self._slots):
            return web.Response("no such board or switch\n", 404)
        slot = self._slots[int(match[1])]
        if request.method not in ("GET", "PUT"):
            return web.Response("only GET and PUT\n", 405)
        if match[2] == "archive":
            if request.method == "PUT":
                slot.append(request.content)
            return web.Response(slot.archive)
        if match[2] == "power":
            if request.method == "GET":
                return web.Response("1" if slot.state else "0")
            if request.body not in ("0", "1"):
                return web.Response("expected 0 or 1\n", 400)
            await slot.switch(request.body == "1")
            return web.Response(request.body)
        if request.method == "GET":
            return web.Response(str(slot.injected))
        try:
            injected = Injected.parse(request.body)
        except UsageError as error:
            return web.Response(f"{error.message}\n{error.next_step}\n", 400)
        await slot.set_fault(injected)
        return web.Response(request.body)


async def run(spec: RackSpec) -> None:
    """Offer the boards until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    rack = Rack(spec)
    outlets = await rack.open()
    try:
        print(outlets.model_dump_json(), flush=True)
        await ended.wait()
    finally:
        await rack.close()


if __name__ == "__main__":
    asyncio.run(run(RackSpec.model_validate_json(Path(sys.argv[1]).read_bytes())))
