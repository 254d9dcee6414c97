"""A rack of boards, scripted or real, as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from farm import image, inventory
from farm.lab.faults import Fault
from farm.lab.files import BoardSpec, Outlets, RackSpec

SCRIPT = Path(__file__).with_name("scripted_qemu.py")
WAIT_S = 60.0


def scripted_path(folder: Path) -> str:
    """Make a folder in which QEMU is the scripted board, and return a PATH that begins with it."""
    folder.mkdir(exist_ok=True)
    program = folder / "qemu-system-aarch64"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {SCRIPT} "$@"\n')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def spec(place: str, machine: str = "virt", **more: Any) -> BoardSpec:
    return BoardSpec(
        place=place, board_type="scripted", image="none", image_id="none", tags={},
        kernel=Path("/dev/null"), initrd=Path("/dev/null"), machine=machine, cpu="cortex-a57",
        smp=2, memory_mib=512, devices=(), append="", **more,
    )  # fmt: skip


def real_spec(place: str) -> BoardSpec:
    made = image.build(inventory.load_image_profile("debian-13"))
    hardware = inventory.load_board_types()["virt-noiommu"].virtual
    assert hardware is not None
    return BoardSpec(
        place=place, board_type="virt-noiommu", image=made.profile, image_id=made.id, tags={},
        kernel=made.kernel, initrd=made.initrd, machine=hardware.machine, cpu=hardware.cpu,
        smp=hardware.smp, memory_mib=hardware.memory_mib, devices=hardware.devices,
        append=hardware.append,
    )  # fmt: skip


def uboot_spec(place: str, firmware: Path, kernel: Path, **more: Any) -> BoardSpec:
    """Return a scripted board that boots with the scripted U-Boot that ``firmware`` names."""
    return spec(place).model_copy(update={"firmware": firmware, "kernel": kernel, **more})


def real_uboot_spec(place: str, **more: Any) -> BoardSpec:
    """Return a board that boots with the U-Boot of board type ``virt-uboot``."""
    hardware = inventory.load_board_types()["virt-uboot"].virtual
    assert hardware is not None and hardware.firmware is not None
    firmware = image.fetch_firmware(hardware.firmware).path
    return real_spec(place).model_copy(update={"firmware": firmware, **more})


@dataclass
class RunningRack:
    process: subprocess.Popen[bytes]
    outlets: Outlets

    def url(self, number: int, what: str) -> str:
        return f"http://127.0.0.1:{self.outlets.http}/boards/{number}/{what}"

    def put(self, number: int, what: str, body: str) -> requests.Response:
        return requests.put(self.url(number, what), data=body, timeout=WAIT_S)

    def power(self, number: int, on: bool) -> None:
        self.put(number, "power", str(int(on))).raise_for_status()

    def fault(self, number: int, fault: Fault) -> None:
        self.put(number, "fault", fault.value).raise_for_status()

    def serial(self, number: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.outlets.serial[number]), WAIT_S)

    def ssh(self, number: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.outlets.ssh[number]), WAIT_S)


def start_rack(folder: Path, boards: tuple[BoardSpec, ...], path: str) -> RunningRack:
    file = folder / "rack.json"
    file.write_text(RackSpec(folder=folder, boards=boards).model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.lab.rack", str(file)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": path},
    )
    assert process.stdout is not None
    return RunningRack(process, Outlets(**json.loads(process.stdout.readline())))


def end_rack(rack: RunningRack) -> None:
    rack.process.terminate()
    rack.process.communicate(timeout=WAIT_S)
