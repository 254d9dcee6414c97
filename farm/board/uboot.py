"""The strategy for boards whose U-Boot loads the kernel under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import attr
from labgrid.factory import target_factory
from pexpect import TIMEOUT

from farm.board import access
from farm.board.console import escape
from farm.board.strategy import BoardStrategy, Status
from farm.errors import BoardError, FarmError

_OWN_FDT = "${fdtcontroladdr}"
_LOADED_FDT = "${fdt_addr_r}"
_QUICK_S = 30.0
_PIECE = 128
"""Characters of bootargs that are typed and read back in one line: U-Boot's shortest lines have 256
(CONFIG_SYS_CBSIZE, CONFIG_SYS_PBSIZE), of which labgrid's driver wants some 70."""
_LONGEST_BOOTARGS = 2047
"""COMMAND_LINE_SIZE of arm64 less its end (arch/arm64/include/uapi/asm/setup.h, Linux 6.12)."""
_SETTLE_S = 0.2
_QUOTED = 80
_BEEP = escape(b"\a")
"""What U-Boot answers for each character beyond the end of its line (common/cli_readline.c)."""


def _text(default: str) -> Any:
    return attr.ib(default=default, validator=attr.validators.instance_of(str))


@target_factory.reg_driver
@attr.s(eq=False)
class UBootBoardStrategy(BoardStrategy):
    """Takes a board from off over uboot (its prompt answers) and linux (it starts) to ready.

    U-Boot runs ``prepare``, loads the files ``fdt``, ``kernel`` and ``initrd`` (empty: none) with
    ``load_command ADDRESS FILE``, each within ``load_timeout`` seconds, and starts the kernel with
    ``boot_command KERNEL INITRD FDT``. Without a file ``fdt`` the kernel gets U-Boot's own device
    tree. ``bootargs`` (empty: U-Boot's own) may hold ``{place}``. Addresses and commands may use
    U-Boot's variables.

    Where the target has a TFTPProviderDriver, the files are names under the config's ``images:``,
    and are put on that server first.
    """

    bindings = {  # noqa: RUF012
        "power": "PowerProtocol",
        "console": "RecordedSerialDriver",
        "ssh": "ParamikoSSHDriver",
        "uboot": "UBootDriver",
        "tftp": {"TFTPProviderDriver", None},
    }

    stages: ClassVar[tuple[Status, ...]] = (Status.uboot, Status.linux, Status.ready)

    prepare: tuple[str, ...] = attr.ib(
        default=("setenv autoload no", "setenv netretry no", "dhcp"), converter=tuple
    )
    load_command: str = _text("tftpboot")
    load_timeout: float = attr.ib(default=60.0, converter=float)
    kernel: str = _text("Image")
    initrd: str = _text("initrd")
    fdt: str = _text("")
    kernel_addr: str = _text("${kernel_addr_r}")
    initrd_addr: str = _text("${ramdisk_addr_r}")
    fdt_addr: str = _text("")
    boot_command: str = _text("booti")
    bootargs: str = attr.ib(default="", validator=attr.validators.matches_re(r"[^'\n]*"))

    def __attrs_post_init__(self) -> None:
        """Start without knowing whether the board is on.

        Raises:
            BoardError: U-Boot's prompt is not configured, so that anything would look like it, or
                power is switched by hand.
        """
        super().__attrs_post_init__()
        if self.power is None:
            raise BoardError(
                f"{self.target.name}: a ManualPowerDriver cannot switch, and U-Boot's prompt comes "
                "after power-on only",
                next_step="put a power driver into the board config that switches an outlet, or "
                "let the board boot by itself, with BoardStrategy",
            )
        if not self.uboot.prompt:
            raise BoardError(
                f"{self.target.name}: the UBootDriver has no 'prompt'",
                next_step="write U-Boot's prompt into the board config, such as prompt: '=> '",
            )

    def force(self, status: Status | str) -> None:
        """Believe that the board is in a state, and connect what belongs to it."""
        super().force(status)
        if self.status == Status.uboot:
            self.target.activate(self.uboot)

    def _enter(self, stage: Status) -> None:
        if stage == Status.uboot:
            self._on()
            self._await_prompt()
        elif stage == Status.linux:
            self._start_linux()
        else:
            super()._enter(stage)

    def _await_prompt(self) -> None:
        self.status = Status.unknown
        limit = self.uboot.login_timeout
        with self._watching(f"no U-Boot prompt that answers within {limit} s of power-on"):
            try:
                self.target.activate(self.uboot)
            except BaseException:
                self.uboot.on_deactivate()  # else it would take the next boot's prompt for granted
                raise
        self._watch.expect_no_reset("U-Boot's prompt had come")
        self.status = Status.uboot

    def _start_linux(self) -> None:
        self.status = Status.unknown
        served = {name: self._serve(name) for name in (self.fdt, self.kernel, self.initrd) if name}
        for command in self.prepare:
            self._command(command, self.load_timeout)
        self._set_bootargs()
        fdt_addr = self.fdt_addr or (_LOADED_FDT if self.fdt else _OWN_FDT)
        addresses = (fdt_addr, self.kernel_addr, self.initrd_addr)
        for name, address in zip((self.fdt, self.kernel, self.initrd), addresses, strict=True):
            if name:  # the initrd comes last: its size is then U-Boot's ${filesize}
                self._command(f"{self.load_command} {address} {served[name]}", self.load_timeout)
        initrd = f"{self.initrd_addr}:${{filesize}}" if self.initrd else "-"
        self._boot(f"{self.boot_command} {self.kernel_addr} {initrd} {fdt_addr}")
        self.target.deactivate(self.uboot)
        self.status = Status.linux

    def _serve(self, name: str) -> str:
        """Return a file's name for U-Boot, after putting it on the TFTP server if that is ours."""
        if self.tftp is None:
            return name
        try:
            path = self.target.env.config.get_image_path(name)
            self.target.activate(self.tftp)
            return str(self.tftp.stage(path))
        except Exception as error:  # labgrid raises whatever it meets
            raise BoardError(
                f"{self.target.name}: file {name!r} does not get onto the TFTP server: {error}",
                next_step="correct 'images:' in the board config, or the exporter's TFTPProvider",
            ) from error

    def _set_bootargs(self) -> None:
        if not self.bootargs:
            return
        text = self.bootargs.replace("{place}", access.place_name(self.target))
        if len(text) > _LONGEST_BOOTARGS:
            raise BoardError(
                f"{self.target.name}: the bootargs have {len(text)} characters, and the kernel "
                f"takes {_LONGEST_BOOTARGS}",
                next_step="shorten 'bootargs' in the board config",
            )
        if len(text) <= _PIECE:
            self._set("bootargs", text)
            return
        self._command("setenv bootargs", _QUICK_S)
        for start in range(0, len(text), _PIECE):
            self._set("bootargs_piece", text[start : start + _PIECE])
            self._command('setenv bootargs "${bootargs}${bootargs_piece}"', _QUICK_S)

    def _set(self, name: str, text: str) -> None:
        self._command(f"setenv {name} '{text}'", _QUICK_S)
        if self._command(f"printenv {name}", _QUICK_S) != [f"{name}={text}"]:
            raise self._watch.failed(f"U-Boot did not take the bootargs {text!r} whole")

    def _boot(self, command: str) -> None:
        limit = self.uboot.boot_timeout
        self._watch.expect_no_reset("U-Boot had been told to start the kernel")
        with self._watching(f"no kernel within {limit} s of {command!r}"):
            self.console.sendline(command)
            found, *_ = self.console.expect(
                [self.uboot.bootstring, self.uboot.prompt], timeout=limit
            )
        if found == 1:
            raise self._watch.failed(f"U-Boot does not start the kernel with {command!r}")

    def _command(self, command: str, timeout: float) -> list[str]:
        """Run a command in U-Boot and return the lines that it prints."""
        mark = self.recording.mark()
        said = repr(command if len(command) <= _QUOTED else f"{command[:_QUOTED]}…")

        def look() -> None:
            self._watch.check()
            echo = [*self.recording.since(mark), *self.recording.tail(1)][0]
            if _BEEP in echo:
                raise self._watch.failed(
                    f"U-Boot cut the line short that has {said}: it takes no longer ones "
                    "(CONFIG_SYS_CBSIZE)"
                )

        with self._watching(f"U-Boot's {said} did not end within {timeout:g} s", look):
            output, _, code = self.uboot.run(command, timeout=timeout)
        lines = [escape(str(line).encode()) for line in output]
        if code != 0:
            raise self._watch.failed(f"U-Boot's {said} failed", lines)
        return lines

    @contextmanager
    def _watching(self, failure: str, look: Callable[[], None] | None = None) -> Iterator[None]:
        """Have labgrid's waits end as soon as the boot has failed, and tell ``failure`` as ours.

        ``look`` does what ``BootWatch.check`` does, and more.

        Raises:
            BootFailed: what was waited for did not come.
        """
        check = look or self._watch.check
        self.console.watch = check
        try:
            yield
        except FarmError:
            raise
        except TIMEOUT as error:
            check()
            raise self._watch.failed(failure) from error
        except Exception as error:  # labgrid's drivers raise whatever they meet
            self.recording.wait_quiet(_SETTLE_S, _QUICK_S)
            check()
            raise self._watch.failed(f"{failure} ({type(error).__name__}: {error})") from error
        finally:
            self.console.watch = lambda: None
