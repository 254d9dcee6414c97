"""labgrid drivers and strategy of the farm; board configs name this module under ``imports``.

``RecordedSerialDriver`` is labgrid's serial driver with a recorder between port and reader,
``ParamikoSSHDriver`` runs commands and moves files, ``BoardStrategy`` takes a board from off to
ready, ``UBootBoardStrategy`` does so through its U-Boot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import attr
import serial
from labgrid.driver import Driver, SerialDriver
from labgrid.driver.commandmixin import CommandMixin
from labgrid.factory import target_factory
from labgrid.protocol import CommandProtocol, FileTransferProtocol
from labgrid.resource import SerialPort
from labgrid.step import step
from labgrid.util import PtxExpect
from labgrid.util.proxy import proxymanager
from pexpect import TIMEOUT

from farm.board import access, ports
from farm.board.recorder import ConsoleRecorder, Port
from farm.board.ssh import SshChannel, SshLink
from farm.board.strategy import BoardStrategy, Status
from farm.board.uboot import UBootBoardStrategy
from farm.errors import LinkLost

_PUT_S = 120.0
_READ_S = 0.5
_READ_BYTES = 4096

__all__ = [
    "BoardStrategy",
    "ParamikoSSHDriver",
    "RecordedSerialDriver",
    "Status",
    "UBootBoardStrategy",
]


@target_factory.reg_driver
@attr.s(eq=False)
class RecordedSerialDriver(SerialDriver):  # type: ignore[misc]
    """Serial console that is recorded, from the first activation to :meth:`stop_recording`.

    The recorder is the one client of the real port; labgrid reads from the recorder's loopback
    port, and so may others. ``log_dir`` is where ``console.log`` and ``console.raw`` go. While
    somebody reads, ``watch`` is called every now and then: what it raises ends the reading.
    """

    log_dir: str = attr.ib(default="", validator=attr.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        """Read through a TCP port, whatever the real port is."""
        super().__attrs_post_init__()
        self.serial = serial.serial_for_url("socket://", do_not_open=True)
        self.watch: Callable[[], None] = lambda: None
        self._recorder: ConsoleRecorder | None = None

    def on_activate(self) -> None:
        """Start to record, unless that is so already, and connect labgrid's reader anew."""
        self._expect = PtxExpect(self)
        host, port = self.start_recording().address
        self.serial.port = f"socket://{host}:{port}/"
        self.open()

    def start_recording(self) -> ConsoleRecorder:
        """Return the recording, begun now if it was not."""
        if self._recorder is None:
            folder = Path(self.log_dir or f"farm-results/console-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            self._recorder = ConsoleRecorder(
                self._open_port, folder, patterns=access.console_patterns(self.target)
            )
        self._recorder.start()
        return self._recorder

    def stop_recording(self) -> None:
        """End the recording; the board should be off."""
        if self._recorder is not None:
            self._recorder.stop()

    def _read(self, size: int = 1, timeout: float = 0.0, max_size: int | None = None) -> bytes:
        """Return ``size`` bytes or more, not over ``max_size``; fewer after ``timeout`` seconds.

        Raises:
            TIMEOUT: nothing came in that time.
        """
        limit = max_size or max(size, _READ_BYTES)
        wanted = min(size, limit)
        deadline = time.monotonic() + timeout
        got = b""
        while True:
            self.watch()
            self.serial.timeout = max(0.0, min(_READ_S, deadline - time.monotonic()))
            got += bytes(self.serial.read(wanted - len(got)))
            if len(got) >= wanted or (got and time.monotonic() >= deadline):
                self.serial.timeout = 0
                return got + bytes(self.serial.read(limit - len(got)))
            if time.monotonic() >= deadline:
                raise TIMEOUT(f"{self.target.name}: the console was silent for {timeout:g} s")

    @property
    def recorder(self) -> ConsoleRecorder:
        """The recording, which has to have begun."""
        if self._recorder is None:
            raise LinkLost(f"{self.target.name}: the console is not being recorded")
        return self._recorder

    def _open_port(self) -> Port:
        if isinstance(self.port, SerialPort):
            return ports.open_local(self.port.port, self.port.speed)
        host, port = proxymanager.get_host_and_port(self.port)
        if self.port.protocol == "rfc2217":
            return ports.open_rfc2217(host, port, self.port.speed)
        return ports.open_tcp(host, port)


@target_factory.reg_driver
@attr.s(eq=False)
class ParamikoSSHDriver(CommandMixin, Driver, CommandProtocol, FileTransferProtocol):  # type: ignore[misc]
    """Commands and files over one SSH connection, every one with a time limit.

    ``username``, ``keyfile`` and ``hostkey`` (``type base64``) win over the board config's
    ``farm.ssh``; what neither says comes with the image that the place boots.
    """

    bindings = {"networkservice": "NetworkService"}  # noqa: RUF012
    priorities = {CommandProtocol: 10, FileTransferProtocol: 10}  # noqa: RUF012

    username: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    keyfile: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    hostkey: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    connection_timeout: float = attr.ib(default=20.0, validator=attr.validators.instance_of(float))

    def __attrs_post_init__(self) -> None:
        """Start without a connection."""
        super().__attrs_post_init__()
        self._link: SshLink | None = None
        self._later = False

    @contextmanager
    def connecting_later(self) -> Iterator[None]:
        """Have activation leave it to :meth:`dial` and :meth:`login` to reach the board.

        labgrid polls each resource for 0.1 s when a driver is activated (resource/remote.py,
        26.0.1): that is best done while the board boots.
        """
        self._later = True
        try:
            yield
        finally:
            self._later = False

    def on_activate(self) -> None:
        """Connect and log in."""
        self._link = SshLink(
            access.ssh_address(
                self.target, self.networkservice, self.username, self.keyfile, self.hostkey
            )
        )
        if not self._later:
            self.login()

    @Driver.check_active  # type: ignore[untyped-decorator]
    def dial(self, timeout: float) -> bool:
        """Return whether the board's SSH server answers within ``timeout`` seconds."""
        return self.link.dial(timeout)

    def login(self) -> None:
        """Log in, over the connection that was dialled if there is one.

        Raises:
            BoardError: the host key is not the pinned one, or the board refuses our key.
            LinkLost: the board did not answer in time.
        """
        self.link.connect(self.connection_timeout)

    def on_deactivate(self) -> None:
        """Let go of the connection."""
        if self._link is not None:
            self._link.close()

    @property
    def link(self) -> SshLink:
        """The connection, which has to be up."""
        if self._link is None:
            raise LinkLost(f"{self.target.name}: SSH is not connected")
        return self._link

    @Driver.check_active  # type: ignore[untyped-decorator]
    @step(args=["cmd"], result=True)  # type: ignore[untyped-decorator]
    def run(
        self,
        cmd: str,
        *,
        timeout: float = 30.0,
        codec: str = "utf-8",
        decodeerrors: str = "backslashreplace",
    ) -> tuple[list[str], list[str], int]:
        """Run a shell command; return its output lines, its error lines and its exit status."""
        return self._run(cmd, timeout=timeout, codec=codec, decodeerrors=decodeerrors)

    def _run(
        self, cmd: str, *, timeout: float, codec: str, decodeerrors: str
    ) -> tuple[list[str], list[str], int]:
        done = self.link.run(cmd, timeout=timeout)
        out = done.stdout.decode(codec, decodeerrors).splitlines()
        return out, done.stderr.decode(codec, decodeerrors).splitlines(), done.status

    @Driver.check_active  # type: ignore[untyped-decorator]
    def get_status(self) -> int:
        """Return 1 while the connection stands."""
        return int(self.link.connected)

    @Driver.check_active  # type: ignore[untyped-decorator]
    @step(args=["filename", "remotepath"])  # type: ignore[untyped-decorator]
    def put(
        self,
        filename: str,
        remotepath: str = "",
        *,
        timeout: float = _PUT_S,
        mode: int = 0o644,
    ) -> None:
        """Copy a file to the board, whole or not at all."""
        source = Path(filename)
        self.link.put(source, remotepath or source.name, timeout=timeout, mode=mode)

    @Driver.check_active  # type: ignore[untyped-decorator]
    @step(args=["filename", "destination"])  # type: ignore[untyped-decorator]
    def get(self, filename: str, destination: str = ".", *, timeout: float = _PUT_S) -> None:
        """Copy a file from the board."""
        target = Path(destination)
        if target.is_dir():
            target = target / Path(filename).name
        self.link.get(filename, target, timeout=timeout)

    @Driver.check_active  # type: ignore[untyped-decorator]
    def open_channel(self, argv: Sequence[str]) -> SshChannel:
        """Start a program on the board and return its standard input and output."""
        return self.link.open_channel(argv)
