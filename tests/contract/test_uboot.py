"""Booting through U-Boot, over a scripted one and over Debian's in a real QEMU: the same tests."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from labgrid import Environment
from racks import (
    RunningRack,
    end_rack,
    real_uboot_spec,
    scripted_path,
    start_rack,
    uboot_spec,
)
from scripted_uboot import MAGIC, MAGIC_AT

from farm.board.boot import BootFailed
from farm.errors import BoardError
from farm.image import keys
from farm.lab.faults import Fault
from farm.lab.files import BoardSpec

CONFIG = Path(__file__).parents[2] / "board-configs" / "virt-uboot.yaml"
RESOURCES = """\
      NetworkPowerPort:
        {{model: rest, host: 'http://127.0.0.1:{http}/boards/{{index}}/power', index: 0}}
      NetworkSerialPort: {{host: 127.0.0.1, port: {serial}, protocol: raw}}
      NetworkService: {{address: 127.0.0.1, username: root, port: {ssh}}}
"""


@dataclass
class Bench:
    """A rack with one board that is off, and the strategy that boots it."""

    rack: RunningRack
    strategy: Any

    def to(self, status: str) -> None:
        self.strategy.transition(status)

    def fails(self, status: str) -> str:
        """Return what the failure says that keeps the board from a state."""
        with pytest.raises(BootFailed) as caught:
            self.to(status)
        assert self.strategy.status.name == "unknown"
        return str(caught.value)

    @property
    def console(self) -> str:
        return "\n".join(self.strategy.recording.tail(200))


Start = Callable[..., Bench]


@pytest.fixture(params=["scripted", pytest.param("qemu", marks=pytest.mark.e2e)])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[BoardSpec, str]:
    """Return a board that boots through U-Boot, and the PATH that finds its QEMU."""
    if request.param == "qemu":
        return real_uboot_spec("board-1"), os.environ["PATH"]
    return scripted(tmp_path, "u-boot.bin")


def scripted(folder: Path, name: str) -> tuple[BoardSpec, str]:
    kernel = folder / "kernel"
    kernel.write_bytes(bytes(MAGIC_AT) + MAGIC + bytes(100))
    made = uboot_spec("board-1", folder / name, kernel, initrd=kernel)
    return made, scripted_path(folder / "bin")


def ssh_access(folder: Path) -> str:
    """Return how to log in, as a board whose image says nothing of it has in its config."""
    made = keys.generate()
    key = folder / "key"
    key.write_bytes(made.private)
    key.chmod(0o600)
    return f"{{key: {key}, host_key: '{made.public}'}}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Put a board on a bench, with changes to the text of its config."""
    ends = contextlib.ExitStack()

    def make(board: BoardSpec, path: str, *changes: tuple[str, str], more: str = "") -> Bench:
        rack = start_rack(tmp_path, (board,), path)
        ends.callback(end_rack, rack)
        ports = rack.outlets
        resources = RESOURCES.format(http=ports.http, serial=ports.serial[0], ssh=ports.ssh[0])
        text = CONFIG.read_text() + more
        head, tail = text.index("      RemotePlace:"), text.index("    drivers:")
        text = text[:head] + resources + text[tail:]
        access = ("  board_type:", f"  ssh: {ssh_access(tmp_path)}\n  board_type:")
        for old, new in (("delay: 2.0", "delay: 0.0"), access, *changes):
            assert old in text
            text = text.replace(old, new)
        config = tmp_path / CONFIG.name
        config.write_text(text)
        environment = Environment(str(config))
        ends.callback(environment.cleanup)
        strategy = environment.get_target().get_driver("BoardStrategy", activate=False)
        strategy.console.log_dir = str(tmp_path / "out")
        ends.callback(strategy.transition, "off")
        return Bench(rack, strategy)

    with ends:
        yield make


def test_the_kernel_starts_with_the_bootargs(start: Start, board: tuple[BoardSpec, str]) -> None:
    bench = start(*board)
    bench.to("uboot")
    assert bench.strategy.uboot.run_check("echo hello") == ["hello"]
    bench.to("linux")
    bench.strategy.console.expect("Kernel command line: (.*)\n", timeout=20)
    assert "console=ttyAMA0 ignore_loglevel hostname=main" in bench.console
    assert bench.console.count("Bytes transferred") == 2
    bench.to("uboot")  # begins with a power cycle
    assert bench.strategy.uboot.run_check("echo again") == ["again"]


def test_a_prompt_that_never_comes(start: Start, board: tuple[BoardSpec, str]) -> None:
    spec, path = board
    bench = start(
        spec.model_copy(update={"fault": Fault.NO_BOOT}), path, ("timeout: 20", "timeout: 3")
    )
    assert bench.fails("uboot") == (
        "no U-Boot prompt that answers within 3 s of power-on; the console is silent"
    )
    bench.rack.fault(0, Fault.SERIAL_DEAF)
    said = bench.fails("uboot")
    assert said.startswith("no U-Boot prompt that answers within 3 s of power-on; the console's")
    bench.rack.fault(0, Fault.NONE)
    bench.strategy.uboot.login_timeout = 60
    bench.to("uboot")


def test_a_kernel_that_the_server_does_not_have(start: Start, board: tuple[BoardSpec, str]) -> None:
    bench = start(*board)
    bench.to("uboot")
    bench.rack.fault(0, Fault.NO_KERNEL_FILE)
    said = bench.fails("linux")
    assert "U-Boot's 'tftpboot ${kernel_addr_r} Image' failed" in said
    assert "TFTP error: 'File not found' (1) | Not retrying..." in said
    bench.rack.fault(0, Fault.NONE)
    bench.to("linux")


def test_a_file_that_is_no_kernel(start: Start, board: tuple[BoardSpec, str]) -> None:
    spec, path = board
    bench = start(spec.model_copy(update={"kernel": CONFIG}), path)
    said = bench.fails("linux")
    assert said.startswith("U-Boot does not start the kernel with 'booti ")
    assert "Bad Linux ARM64 Image magic!" in said


def test_a_board_that_resets_itself(start: Start, board: tuple[BoardSpec, str]) -> None:
    bench = start(*board)
    bench.rack.fault(0, Fault.BOOT_LOOP)
    said = bench.fails("ready")
    assert said.startswith(
        "the board reset itself after U-Boot had been told to start the kernel; the console's last"
    )
    assert " | U-Boot 2025.01-" in said


def test_bootargs_of_ones_own_and_other_files(
    start: Start, board: tuple[BoardSpec, str], tmp_path: Path
) -> None:
    """As with a real board: labgrid puts the files of ``images:`` on a TFTP server."""
    spec, path = board
    mine = tmp_path / "my-kernel"
    mine.write_bytes(spec.kernel.read_bytes())
    bench = start(
        spec,
        path,
        ("      NetworkService:", f"      TFTPProvider: {{internal: {tmp_path}/tftp-board-1/, "
         "external: ''}\n      NetworkService:"),
        ("      UBootDriver:", "      TFTPProviderDriver: {}\n      UBootDriver:"),
        ("UBootBoardStrategy:", "UBootBoardStrategy:\n        kernel: linux\n        initrd: ''"),
        ("hostname={place}", 'dyndbg="file dma-buf.c +p" quiet'),
        ("boot_timeout: 30", "boot_timeout: 30\n        bootstring: Starting kernel"),
        more=f"\nimages:\n  linux: {mine}\n",
    )  # fmt: skip
    bench.to("linux")
    assert "tftpboot ${kernel_addr_r} my-kernel" in bench.console
    assert 'dyndbg="file dma-buf.c +p" quiet' in bench.console
    assert "booti ${kernel_addr_r} - ${fdtcontroladdr}" in bench.console


def test_bootargs_longer_than_a_line(start: Start, board: tuple[BoardSpec, str]) -> None:
    words = " ".join(f"word.{number}=$and%" for number in range(90))
    bench = start(*board, ("hostname={place}", words))
    bench.to("linux")
    console, text = bench.strategy.console, f"console=ttyAMA0 ignore_loglevel {words}"
    _, _, match, _ = console.expect(r"Kernel command line: (.*?)\r?\n", timeout=20)
    assert len(match[1]) > 512 and text.encode().startswith(match[1])  # printk may cut it
    if board[0].board_type != "scripted":
        console.expect("farm: ready", timeout=120)
        console.sendline("\nmd5sum < /proc/cmdline")
        console.expect(hashlib.md5(f"{text}\n".encode()).hexdigest(), timeout=20)


def test_bootargs_that_no_kernel_takes(start: Start, tmp_path: Path) -> None:
    bench = start(*scripted(tmp_path, "u-boot.bin"), ("hostname={place}", "x" * 2020))
    with pytest.raises(
        BoardError, match="the bootargs have 2052 characters, and the kernel takes 2047"
    ):
        bench.to("linux")


def test_a_line_that_uboot_cuts_short(start: Start, board: tuple[BoardSpec, str]) -> None:
    long = ("          - dhcp\n", f"          - setenv long {'x' * 2000}\n          - dhcp\n")
    said = start(*board, long).fails("linux")
    assert said.startswith(
        f"U-Boot cut the line short that has 'setenv long {'x' * 68}…': it takes"
    )


def test_a_boot_loader_that_boots_in_circles(start: Start, tmp_path: Path) -> None:
    bench = start(*scripted(tmp_path, "looping"))
    said = bench.fails("uboot")
    assert said.startswith("the board boots in circles: U-Boot started 3 times; the console's last")


def test_a_boot_loader_that_crashes(start: Start, tmp_path: Path) -> None:
    bench = start(*scripted(tmp_path, "crashing"))
    assert bench.fails("uboot") == (
        'the board died while it booted: "Synchronous Abort" handler, esr 0x96000010, far 0x0'
    )


def test_a_command_that_does_not_end(start: Start, tmp_path: Path) -> None:
    bench = start(
        *scripted(tmp_path, "u-boot.bin"),
        ("UBootBoardStrategy:", "UBootBoardStrategy:\n        load_timeout: 0.5"),
    )
    bench.to("uboot")
    bench.rack.fault(0, Fault.SERIAL_DEAF)
    assert bench.fails("linux").startswith("U-Boot's 'setenv autoload no' did not end within 0.5 s")


def test_an_image_that_is_not_in_the_config(start: Start, tmp_path: Path) -> None:
    bench = start(
        *scripted(tmp_path, "u-boot.bin"),
        ("      NetworkService:", "      TFTPProvider: {internal: /nowhere, external: ''}\n"
         "      NetworkService:"),
        ("      UBootDriver:", "      TFTPProviderDriver: {}\n      UBootDriver:"),
    )  # fmt: skip
    with pytest.raises(BoardError, match=r"'Image' does not get onto the TFTP server: .*Image"):
        bench.to("linux")


def test_a_prompt_that_is_not_configured(start: Start, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="UBootDriver has no 'prompt'"):
        start(*scripted(tmp_path, "u-boot.bin"), ("prompt: '=> '", "prompt: ''"))


def test_power_that_is_switched_by_hand(start: Start, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="a ManualPowerDriver cannot switch, and U-Boot's prompt"):
        start(
            *scripted(tmp_path, "u-boot.bin"),
            ("NetworkPowerDriver:\n        delay: 0.0", "ManualPowerDriver: {}"),
        )
