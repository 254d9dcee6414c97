"""One board's place in a rack: its outlet, serial line, way to its SSH server, and its faults."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from farm.image import keys
from farm.image.cpio import Tree, pack
from farm.lab import disk
from farm.lab.faults import HEALTHY, Fault, Injected
from farm.lab.files import BoardSpec
from farm.lab.qemu import Qemu, Start
from farm.lab.sockets import Relay, SerialPort

_KERNEL_STARTS = b"Booting Linux on physical CPU"
_PANIC = b"\x03\necho c > /proc/sysrq-trigger\n"
_STUCK = (Fault.OUTLET_STUCK, Fault.OUTLET_LIES)
_SLICE_S = 0.02


class Slot:
    """One board's place in the rack."""

    def __init__(self, board: BoardSpec, folder: Path, noise: random.Random) -> None:
        """Describe the slot; ``noise`` feeds garbage faults.

        The ports of :attr:`serial` and :attr:`ssh` are not open yet, and :meth:`set_fault` has yet
        to be told of the fault that the board has from the start.
        """
        self._board = board
        self._log = folder / f"qemu-{board.place}.log"
        self._tftp = folder / f"tftp-{board.place}" if board.firmware and not board.disk else None
        self._disk = folder / f"disk-{board.place}.img" if board.disk else None
        self._own_initrd = folder / f"initrd-{board.place}"
        self._archive = b""
        self._noise = noise
        self._power = asyncio.Lock()
        self._qemu: Qemu | None = None
        self._on = False
        self._told = False
        self._heard = b""
        self._passed = 0
        self._used = False
        self._works: set[asyncio.Task[None]] = set()
        self._bytes: asyncio.Queue[bytes] = asyncio.Queue()
        self._trickling: asyncio.Task[None] | None = None
        self.serial = SerialPort(self._type)
        self.ssh = Relay(self._ssh_port, self._ssh_used)
        self.injected = HEALTHY

    # -- the outlet

    @property
    def state(self) -> bool:
        """Whether the outlet says that it is on."""
        return self._told if self.injected.fault is Fault.OUTLET_LIES else self._on

    async def switch(self, on: bool) -> None:
        """Tell the outlet to switch; what it is already it does nothing about."""
        self._told = on
        if self.injected.fault not in _STUCK:
            await self._switch(on)

    async def _switch(self, on: bool) -> None:
        async with self._power:
            if self._qemu is not None and (not on or not self._qemu.running):
                self._end_works()
                await self._qemu.stop()
                self._qemu = None
            if on and self._qemu is None:
                await self._start()
            self._on = on

    async def _start(self) -> None:
        self._heard, self._passed, self._used = b"", 0, False
        fault, number = self.injected.fault, self.injected.number
        board = self._loaded()
        self._serve_files(board)
        if self._disk is not None:
            await asyncio.to_thread(disk.write, self._disk, self._files(board))
        self._qemu = await Qemu.start(
            board,
            log=self._log,
            received=self._received,
            start=Start(
                tftp=self._tftp,
                disk=self._disk,
                year=int(number) if fault is Fault.CLOCK else 0,
                paused=fault is Fault.NO_BOOT,
            ),
        )
        if fault is Fault.SLOW:
            self._work(self._slow_down(self._qemu))
        if board.exact:
            self._ssh_used()  # nobody will: what counts from there counts from power-on

    # -- what it boots

    def _loaded(self) -> BoardSpec:
        """Return the board with what it boots now: the kernel unpacks archives that are joined."""
        added = self._archive
        if self.injected.fault is Fault.HOST_KEY:
            tree = Tree()
            tree.file("/etc/dropbear/host_key", keys.generate().dropbear, 0o600)
            added += pack(tree)
        if not added:
            return self._board
        self._own_initrd.write_bytes(self._board.initrd.read_bytes() + added)
        return self._board.model_copy(update={"initrd": self._own_initrd})

    def _files(self, board: BoardSpec) -> dict[str, Path]:
        """Return what firmware finds, under which names."""
        files = {"Image": board.kernel, "initrd": board.initrd}
        if self.injected.fault is Fault.NO_KERNEL_FILE:
            del files["Image"]
        return files

    def _serve_files(self, board: BoardSpec) -> None:
        """Put into the TFTP folder what is to be had there."""
        if self._tftp is None:
            return
        self._tftp.mkdir(exist_ok=True)
        for old in self._tftp.iterdir():
            old.unlink()
        for name, file in self._files(board).items():
            (self._tftp / name).symlink_to(file.absolute())

    @property
    def archive(self) -> str:
        """SHA-256 of what is appended to the image's initramfs, or ``none``."""
        return hashlib.sha256(self._archive).hexdigest() if self._archive else "none"

    def append(self, archive: bytes) -> None:
        """Append an archive to the image's initramfs from the next power-on on."""
        self._archive = archive

    # -- the serial line

    def _type(self, data: bytes) -> None:
        if self._qemu is not None and self.injected.fault is not Fault.SERIAL_DEAF:
            self._qemu.send(data)

    def _received(self, data: bytes) -> None:
        fault = self.injected.fault
        if fault is Fault.SERIAL_GARBAGE:
            data = self._noise.randbytes(1 + self._noise.randrange(64)) + data
        if fault is Fault.SERIAL_BYTES:
            self._bytes.put_nowait(data)
        else:
            self.serial.broadcast(data)
        if fault is Fault.SERIAL_DROP:
            self._passed += len(data)
            if self._passed >= self.injected.number:
                self._passed = 0
                self.serial.cut()
        if fault is Fault.BOOT_LOOP:
            self._reset_as_kernel_starts(data)

    async def _trickle(self) -> None:
        while True:
            for byte in await self._bytes.get():
                self.serial.broadcast(bytes([byte]))
                await asyncio.sleep(0)

    def _reset_as_kernel_starts(self, data: bytes) -> None:
        self._heard += data
        if _KERNEL_STARTS in self._heard and self._qemu is not None:
            self._heard = b""
            self._work(self._qemu.reset())
        self._heard = self._heard[-len(_KERNEL_STARTS) :]

    # -- SSH

    def _ssh_port(self) -> int:
        if self._qemu is None or not self._qemu.running:
            return 0
        return 0 if self.injected.fault is Fault.SSH_REFUSE else self._qemu.ssh_port

    def _ssh_used(self) -> None:
        """Begin what begins when SSH is first used in a boot."""
        qemu, first = self._qemu, not self._used
        self._used = True
        if qemu is None or not first:
            return
        if self.injected.fault is Fault.HANG:
            self._work(_later(self.injected.number, qemu.freeze))
        elif self.injected.fault is Fault.PANIC:
            self._work(_later(self.injected.number, lambda: _typed(qemu)))

    # -- faults

    async def set_fault(self, injected: Injected) -> None:
        """Break the board in one way, or heal it."""
        fault = injected.fault
        if fault is Fault.LINK_DROP:
            self.ssh.cut()
            return
        if fault is Fault.FREEZE:
            if self._qemu is not None:
                await self._qemu.freeze()
            return
        self._end_works()
        self.injected = injected
        self.ssh.stall(fault is Fault.SSH_STALL)
        self.ssh.cut_after = injected.number if fault is Fault.SSH_CLOSE else None
        self._serve_files(self._loaded())
        if fault is Fault.SERIAL_BYTES and self._trickling is None:
            self._trickling = asyncio.create_task(self._trickle())
        if fault is Fault.SLOW and self._qemu is not None:
            self._work(self._slow_down(self._qemu))

    async def _slow_down(self, qemu: Qemu) -> None:
        try:
            while True:
                qemu.slow(False)
                await asyncio.sleep(_SLICE_S)
                qemu.slow(True)
                await asyncio.sleep(_SLICE_S * (self.injected.number - 1))
        finally:
            qemu.slow(False)

    def _work(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do something beside, until it is done, the power is cut or the fault changes."""
        task = asyncio.create_task(_tolerant(doing))
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    def _end_works(self) -> None:
        for task in self._works:
            task.cancel()

    async def close(self) -> None:
        """Switch the board off and close its ports."""
        await self._switch(False)
        if self._trickling is not None:
            self._trickling.cancel()
        await self.serial.close()
        await self.ssh.close()


async def _tolerant(doing: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(OSError, EOFError, ValueError):  # the board has ended, or ends now
        await doing


async def _later(seconds: float, do: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(seconds)
    await do()


async def _typed(qemu: Qemu) -> None:
    """Have the kernel panic, as somebody would at the shell on the serial line."""
    qemu.send(_PANIC)
