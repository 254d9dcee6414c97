"""One QEMU machine as a board: its command line, its process, its serial line and its monitor.

The serial line and the monitor are socket pairs made before QEMU starts, so there is no path or
port to race for and not a byte of early output is lost. QEMU dies with the process that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from farm.errors import LabError

BINARY = "qemu-system-aarch64"
NEXT_STEP = "install QEMU's ARM emulator: apt install qemu-system-arm"
GUEST_SSH_PORT = 22
_MONITOR_S = 30.0
_REPLY_LIMIT = 1 << 20
_PIECE_S = 0.005
EXACT = (
    *("-icount", "shift=1,sleep=off,align=off"),
    *("-seed", "1"),
    *("-rtc", "base=2026-01-01T00:00:00,clock=vm"),
)
"""What makes QEMU count instructions instead of time (2 ns each), and roll no dice."""

_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")


class Machine(Protocol):
    """What a QEMU machine is made of; :class:`farm.lab.files.BoardSpec` is one."""

    place: str
    board_type: str
    kernel: Path
    initrd: Path
    machine: str
    cpu: str
    smp: int
    memory_mib: int
    devices: tuple[str, ...]
    append: str
    firmware: Path | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Start:
    """What one start of a machine has beside what it is made of.

    ``tftp`` is the folder of the TFTP server in its network, ``disk`` the image of a disk that it
    cannot write; ``year`` is what its clock says instead of this one, and ``paused`` keeps the
    CPUs from starting.
    """

    tftp: Path | None = None
    disk: Path | None = None
    year: int = 0
    paused: bool = False


def binary() -> str:
    """Return the path of QEMU's ARM emulator.

    Raises:
        LabError: it is not installed.
    """
    found = shutil.which(BINARY)
    if found is None:
        raise LabError(
            f"{BINARY} is not installed, and virtual boards run on it", next_step=NEXT_STEP
        )
    return found


def version() -> str:
    """Return QEMU's version as ``7.2.22``.

    Raises:
        LabError: QEMU is missing or does not say its version.
    """
    done = subprocess.run(
        [binary(), "--version"], capture_output=True, text=True, errors="replace", check=False
    )
    match = re.search(r"version (\d+(?:\.\d+)*)", done.stdout)
    if match is None:
        raise LabError(
            f"{BINARY} --version says {done.stdout[:80]!r}, expected a version",
            next_step="check that QEMU is installed whole",
        )
    return match[1]


def cpus(count: int) -> str:
    """Return what QEMU's ``-smp`` says of so many CPUs, each a socket of its own.

    So the kernel knows that they share no cache, and wakes a process on the CPU that has something
    for it: to wake the other one takes the host's scheduler.
    """
    return f"{count},sockets={count}"


def arguments(board: Machine, start: Start, *, serial_fd: int, monitor_fd: int) -> list[str]:
    """Return QEMU's arguments for a board.

    The control network card and the disk come last, so that they move no device's address. The
    card reaches nothing but this machine's forwarded port and the TFTP folder. An exact board has
    no network.
    """
    argv = ["-machine", board.machine, "-cpu", board.cpu]
    argv += ["-smp", cpus(board.smp)]
    argv += ["-m", str(board.memory_mib), "-nodefaults", "-no-user-config", "-display", "none"]
    argv += _boot_arguments(board)
    argv += ["-chardev", f"socket,id=serial,fd={serial_fd}", "-serial", "chardev:serial"]
    argv += ["-chardev", f"socket,id=monitor,fd={monitor_fd}"]
    argv += ["-mon", "chardev=monitor,mode=control"]
    for device in board.devices:
        argv += ["-device", device]
    if start.paused:
        argv += ["-S"]
    if board.exact:
        return [*argv, *EXACT]
    forward = f"hostfwd=tcp:127.0.0.1:0-:{GUEST_SSH_PORT}"
    served = "" if start.tftp is None else f",tftp={_quoted(start.tftp)}"
    argv += ["-netdev", f"user,id=control,restrict=on,ipv6=off,{forward}{served}"]
    argv += ["-device", "virtio-net-pci,netdev=control,romfile="]
    if start.disk is not None:
        drive = f"if=none,id=disk,format=raw,readonly=on,file={_quoted(start.disk)}"
        argv += ["-drive", drive, "-device", "virtio-blk-pci,drive=disk"]
    if start.year:
        argv += ["-rtc", f"base={start.year}-01-01T00:00:00"]
    return argv


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")


def _boot_arguments(board: Machine) -> list[str]:
    if board.firmware is not None:
        return ["-bios", str(board.firmware)]
    # An exact board is not told its place, so that all boards of a type do the same.
    hostname = board.board_type if board.exact else board.place
    append = f"console=ttyAMA0 ignore_loglevel hostname={hostname} {board.append}".rstrip()
    return ["-kernel", str(board.kernel), "-initrd", str(board.initrd), "-append", append]


class SerialLine(asyncio.Protocol):
    """Our end of a board's serial line; ``ended`` is done when the other end is gone.

    QEMU sends each character by itself (hw/char/pl011.c, 7.2). Reading on a moment later makes
    pieces of them: the processes that pass each on would take their time from the emulated CPU.
    """

    def __init__(self, received: Callable[[bytes], None]) -> None:
        """Give ``received`` what the board writes."""
        self._received = received
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass a piece on."""
        self._received(data)
        self._transport.pause_reading()
        self._loop.call_later(_PIECE_S, self._transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        self.ended.set_result(None)

    def write(self, data: bytes) -> None:
        """Send to the board, or drop it where too much is waiting already."""
        if self._transport.get_write_buffer_size() < _REPLY_LIMIT:
            self._transport.write(data)


class Qemu:
    """A running QEMU; make it with :meth:`start`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        serial: SerialLine,
        monitor: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Take over a process with its serial line and monitor."""
        self._process = process
        self._serial = serial
        self._monitor_in, self._monitor_out = monitor
        self._asking = asyncio.Lock()
        self.ssh_port = 0

    @classmethod
    async def start(
        cls,
        board: Machine,
        *,
        log: Path,
        received: Callable[[bytes], None],
        start: Start,
    ) -> Qemu:
        """Start a board's QEMU; ``received`` gets what the board writes on its serial line.

        QEMU's own messages are appended to ``log``.

        Raises:
            LabError: QEMU is missing or refuses to start; the message holds its last words.
        """
        serial_ours, serial_theirs = socket.socketpair()
        monitor_ours, monitor_theirs = socket.socketpair()
        with contextlib.ExitStack() as theirs:
            theirs.enter_context(serial_theirs)
            theirs.enter_context(monitor_theirs)
            fds = (serial_theirs.fileno(), monitor_theirs.fileno())
            argv = arguments(board, start, serial_fd=fds[0], monitor_fd=fds[1])
            errors = theirs.enter_context(log.open("ab"))
            said_from = errors.tell()
            process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", "--", binary(), *argv,
                stdin=asyncio.subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=fds,
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        _, serial = await loop.create_connection(lambda: SerialLine(received), sock=serial_ours)
        monitor = await asyncio.open_connection(sock=monitor_ours, limit=_REPLY_LIMIT)
        qemu = cls(process, serial, monitor)
        try:
            async with asyncio.timeout(_MONITOR_S):
                await qemu._introduce(forwards=not board.exact)
        except (OSError, TimeoutError, ValueError, EOFError) as error:
            await qemu.stop()
            with log.open("rb") as stream:
                stream.seek(said_from)
                said = stream.read(4096).decode("utf-8", "replace").strip()
            raise LabError(
                f"QEMU does not start for board {board.place}: {said or error}",
                next_step="correct 'farm: virtual:' in the board config",
            ) from error
        return qemu

    async def _introduce(self, *, forwards: bool) -> None:
        await self._monitor_in.readline()  # its greeting
        await self._command("qmp_capabilities")
        if not forwards:
            return
        text = await self._command("human-monitor-command", {"command-line": "info usernet"})
        match = _FORWARD.search(str(text))
        if match is None:
            raise ValueError("its user network forwards no port")
        self.ssh_port = int(match[1])

    async def _command(self, name: str, arguments: Mapping[str, str] | None = None) -> Any:
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = dict(arguments)
        async with self._asking:
            self._monitor_out.write(json.dumps(request).encode() + b"\n")
            await self._monitor_out.drain()
            while line := await self._monitor_in.readline():
                reply = json.loads(line)
                if "error" in reply:
                    raise ValueError(f"monitor refuses {name}: {reply['error'].get('desc', '')}")
                if "return" in reply:
                    return reply["return"]
        raise EOFError("QEMU ended")

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.returncode is None

    def send(self, data: bytes) -> None:
        """Write to the board's serial line; what a board that is stuck does not take is dropped."""
        self._serial.write(data)

    async def freeze(self) -> None:
        """Stop the board's CPUs; only cutting the power helps."""
        await self._command("stop")

    async def reset(self) -> None:
        """Reset the board, as its watchdog would."""
        await self._command("system_reset")

    def slow(self, stopped: bool) -> None:
        """Take all processor time from the board, or give it back; its clock goes on."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    async def stop(self) -> None:
        """Cut the power: kill QEMU, pass on the last of its serial output, and reap it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._serial.ended
        self._monitor_out.close()
        with contextlib.suppress(OSError):
            await self._monitor_out.wait_closed()
