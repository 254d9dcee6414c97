"""The reference device: the layout of its interface, and which boards and payloads have it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farm import inventory, paths
from farm.board import payload

FOLDER = paths.testsuites() / "refdev"

LAYOUT = {
    "refdev_info": (24, {"version": 8, "dma_bits": 12, "memory": 16, "buffers": 20}),
    "refdev_attach": (16, {"fd": 8, "id": 12}),
    "refdev_detach": (16, {"id": 8, "pad": 12}),
    "refdev_transfer": (
        40,
        {"id": 8, "length": 12, "offset": 16, "memory": 24, "pad": 28, "dma_address": 32},
    ),
    "refdev_wait": (24, {"id": 8, "timeout_ms": 12, "done": 16, "pad": 20}),
    "refdev_counters": (88, {"attaches": 8, "fences_init": 56, "faults": 72, "timeouts": 80}),
    "refdev_barrier": (48, {"count": 8, "backoffs": 12, "ids": 16}),
}
"""Bytes of each structure, and where its members begin: version 1 of the interface."""

COMMANDS = {
    "REFDEV_INFO": 0xC018ED00,
    "REFDEV_ATTACH": 0xC010ED01,
    "REFDEV_DETACH": 0x4010ED02,
    "REFDEV_TRANSFER": 0xC028ED03,
    "REFDEV_WAIT": 0xC018ED04,
    "REFDEV_COUNTERS": 0xC058ED05,
    "REFDEV_BARRIER": 0xC030ED06,
}


def assertions() -> list[str]:
    facts = ["REFDEV_VERSION == 1", "REFDEV_MEMORY < 4096"]
    for structure, (size, members) in LAYOUT.items():
        facts.append(f"sizeof(struct {structure}) == {size}")
        every = {"size": 0, "flags": 4, **members}
        facts += [f"offsetof(struct {structure}, {name}) == {at}" for name, at in every.items()]
    facts += [f"{name} == {value}u" for name, value in COMMANDS.items()]
    return [f'_Static_assert({fact}, "{fact}");' for fact in facts]


@pytest.mark.parametrize("target", ["aarch64-linux-musl", "arm-linux-musleabihf"])
def test_interface_keeps_its_layout(tmp_path: Path, target: str) -> None:
    source = tmp_path / "layout.c"
    lines = ["#include <stddef.h>", f'#include "{FOLDER / "refdev.h"}"', *assertions()]
    source.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", target),
            *("-c", str(source), "-o", str(tmp_path / "layout.o")),
        ],
        env={
            **os.environ,
            "ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "zig"),
            "ZIG_LOCAL_CACHE_DIR": str(tmp_path / "zig"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_payload_has_the_interface_and_not_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the driver is no change of a case."""
    shutil.copytree(paths.testsuites(), tmp_path / "testsuites")
    (tmp_path / "board-configs").mkdir()
    before = payload.build("host")
    monkeypatch.setenv("FARM_ROOT", str(tmp_path))
    with (tmp_path / "testsuites/refdev/engine.c").open("a") as file:
        file.write("/* another driver */\n")
    assert payload.build("host").path == before.path


@pytest.mark.parametrize(
    ("board_type", "profile", "bits"),
    [
        ("virt-smmuv3", "reference-6.12", [28]),
        ("virt-noiommu-6g", "reference-6.12", [32]),
        ("virt-smmuv3-6g", "reference-6.12", [32]),
        ("virt-noiommu", "reference-6.12", []),  # out of its reach
        ("virt-smmuv3", "debian-13", []),  # no driver for it
        ("virt-smmuv3", "installed", [28]),  # whoever installed the system says what it has
    ],
)
def test_device_is_claimed_where_the_image_drives_it(
    board_type: str, profile: str, bits: list[int]
) -> None:
    declared = inventory.devices(
        inventory.load_board_types()[board_type], inventory.load_image_profile(profile)
    )
    assert [one.dma_mask_bits for one in declared if one.kind == "refdev"] == bits
