"""The rack: a process that offers QEMU boards the way a shelf offers real ones.

Each board has an outlet over HTTP (labgrid's power model ``rest``), a serial line over raw TCP and
a TCP port that leads to its SSH server. All ports are free ones on loopback and stay the same while
boards are switched on and off. A board with firmware of its own finds its kernel, as ``Image``, and
``initrd`` on the TFTP server of its network. Paths, N counting from 0:

====== ======================= ====================================================
GET    ``/boards/N/power``     ``0`` or ``1``
PUT    ``/boards/N/power``     body ``0`` or ``1``; answers when it is done
GET    ``/boards/N/fault``     a :class:`farm.lab.faults.Fault`
PUT    ``/boards/N/fault``     body: a fault; ``none`` heals the board
GET    ``/boards/N/archive``   SHA-256 of what is appended to the image's initramfs, or ``none``
PUT    ``/boards/N/archive``   body: a cpio archive to append from the next power-on on, or empty
====== ======================= ====================================================

Run as ``python -m farm.lab.rack SPEC.json``; prints its ports as one line of JSON when it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
import signal
import sys
from pathlib import Path

from farm.lab import web
from farm.lab.faults import Fault
from farm.lab.files import BoardSpec, Outlets, RackSpec
from farm.lab.qemu import Qemu
from farm.lab.sockets import Relay, SerialPort

_KERNEL_STARTS = b"Booting Linux on physical CPU"
_PATH = re.compile(r"/boards/(\d{1,4})/(power|fault|archive)")

MAX_ARCHIVE = 64 << 20
"""Bytes of an archive that is appended to an image."""


def _max_body(path: str) -> int:
    return MAX_ARCHIVE if path.endswith("/archive") else web.MAX_BODY


class Slot:
    """One board's place in the rack."""

    def __init__(self, board: BoardSpec, folder: Path, noise: random.Random) -> None:
        """Describe the slot; :meth:`open` makes it reachable. ``noise`` feeds garbage faults."""
        self._board = board
        self._log = folder / f"qemu-{board.place}.log"
        self._tftp = folder / f"tftp-{board.place}" if board.firmware is not None else None
        self._own_initrd = folder / f"initrd-{board.place}"
        self._archive = b""
        self._noise = noise
        self._power = asyncio.Lock()
        self._qemu: Qemu | None = None
        self._heard = b""
        self._resetting: asyncio.Task[None] | None = None
        self.serial = SerialPort(self._type)
        self.ssh = Relay(self._ssh_port)
        self.fault = board.fault
        self.on = False

    def _type(self, data: bytes) -> None:
        if self._qemu is not None and self.fault is not Fault.SERIAL_DEAF:
            self._qemu.send(data)

    def _ssh_port(self) -> int:
        if self._qemu is None or not self._qemu.running or self.fault is Fault.SSH_REFUSE:
            return 0
        return self._qemu.ssh_port

    def _received(self, data: bytes) -> None:
        if self.fault is Fault.SERIAL_GARBAGE:
            data = self._noise.randbytes(1 + self._noise.randrange(64)) + data
        self.serial.broadcast(data)
        if self.fault is Fault.BOOT_LOOP:
            self._reset_as_kernel_starts(data)

    def _reset_as_kernel_starts(self, data: bytes) -> None:
        self._heard += data
        if _KERNEL_STARTS in self._heard and self._qemu is not None:
            self._heard = b""
            self._resetting = asyncio.create_task(_reset(self._qemu))
        self._heard = self._heard[-len(_KERNEL_STARTS) :]

    async def switch(self, on: bool) -> None:
        """Switch the outlet; switching it to what it is already does nothing to a live board."""
        async with self._power:
            if self._qemu is not None and (not on or not self._qemu.running):
                await self._qemu.stop()
                self._qemu = None
            if on and self._qemu is None:
                self._qemu = await Qemu.start(
                    self._loaded(),
                    log=self._log,
                    received=self._received,
                    tftp=self._tftp,
                    paused=self.fault is Fault.NO_BOOT,
                )
            self.on = on

    def _loaded(self) -> BoardSpec:
        """Return the board with what it boots now: the kernel unpacks archives that are joined."""
        if not self._archive:
            return self._board
        self._own_initrd.write_bytes(self._board.initrd.read_bytes() + self._archive)
        return self._board.model_copy(update={"initrd": self._own_initrd})

    @property
    def archive(self) -> str:
        """SHA-256 of what is appended to the image's initramfs, or ``none``."""
        return hashlib.sha256(self._archive).hexdigest() if self._archive else "none"

    def append(self, archive: bytes) -> None:
        """Append an archive to the image's initramfs from the next power-on on."""
        self._archive = archive

    async def set_fault(self, fault: Fault) -> None:
        """Break the board in one way, or heal it."""
        match fault:
            case Fault.LINK_DROP:
                self.ssh.cut()
            case Fault.FREEZE:
                if self._qemu is not None:
                    await self._qemu.freeze()
            case _:
                self.ssh.stall(fault is Fault.SSH_STALL)
                self._serve_files(fault)
                self.fault = fault

    def _serve_files(self, fault: Fault) -> None:
        """Put into the TFTP folder what is to be had there."""
        if self._tftp is None:
            return
        self._tftp.mkdir(exist_ok=True)
        for name, file in (("Image", self._board.kernel), ("initrd", self._board.initrd)):
            link = self._tftp / name
            link.unlink(missing_ok=True)
            if name != "Image" or fault is not Fault.NO_KERNEL_FILE:
                link.symlink_to(file.absolute())

    async def close(self) -> None:
        """Switch the board off and close its ports."""
        await self.switch(False)
        await self.serial.close()
        await self.ssh.close()


async def _reset(qemu: Qemu) -> None:
    with contextlib.suppress(OSError, EOFError, ValueError):  # it has ended, or ends just now
        await qemu.reset()


class Rack:
    """All slots and the HTTP port in front of them."""

    def __init__(self, spec: RackSpec) -> None:
        """Describe the rack; :meth:`open` makes it reachable."""
        self._slots = [
            Slot(board, spec.folder, random.Random(number))
            for number, board in enumerate(spec.boards)
        ]
        self._server: asyncio.Server | None = None

    async def open(self) -> Outlets:
        """Open every port and return them."""
        self._server = await web.serve(self._handle, max_body=_max_body)
        for slot in self._slots:
            await slot.set_fault(slot.fault)
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
                return web.Response("1" if slot.on else "0")
            if request.body not in ("0", "1"):
                return web.Response("expected 0 or 1\n", 400)
            await slot.switch(request.body == "1")
            return web.Response(request.body)
        if request.method == "GET":
            return web.Response(slot.fault.value)
        if request.body not in {fault.value for fault in Fault}:
            return web.Response(f"expected one of: {', '.join(Fault)}\n", 400)
        await slot.set_fault(Fault(request.body))
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
