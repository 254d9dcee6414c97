"""The strategy for boards whose U-Boot loads the kernel under test."""

from __future__ import annotations

from collections.abc import Iterator
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
            BoardError: U-Boot's prompt is not configured, so that anything would look like it.
        """
        super().__attrs_post_init__()
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
        self._command(f"setenv bootargs '{text}'", _QUICK_S)
        held = self._command("printenv bootargs", _QUICK_S)
        if held != [f"bootargs={text}"]:
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
        with self._watching(f"U-Boot's {command!r} did not end within {timeout:g} s"):
            said, _, code = self.uboot.run(command, timeout=timeout)
        lines = [escape(str(line).encode()) for line in said]
        if code != 0:
            raise self._watch.failed(f"U-Boot's {command!r} failed", lines)
        return lines

    @contextmanager
    def _watching(self, failure: str) -> Iterator[None]:
        """Have labgrid's waits end as soon as the boot has failed, and tell ``failure`` as ours.

        Raises:
            BootFailed: what was waited for did not come.
        """
        self.console.watch = self._watch.check
        try:
            yield
        except FarmError:
            raise
        except TIMEOUT as error:
            self._watch.check()
            raise self._watch.failed(failure) from error
        except Exception as error:  # labgrid's drivers raise whatever they meet
            self._watch.check()
            raise self._watch.failed(f"{failure} ({type(error).__name__}: {error})") from error
        finally:
            self.console.watch = lambda: None
