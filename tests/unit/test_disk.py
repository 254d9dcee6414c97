"""Disks that firmware loads a kernel from, read back with the file system's own tools."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from farm.errors import LabError
from farm.lab import disk


def read_back(image: Path, name: str, to: Path) -> bytes:
    debugfs = shutil.which("debugfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert debugfs is not None, "it comes with mke2fs"
    where = f"{image}?offset={disk.PARTITION_AT}"
    subprocess.run([debugfs, "-R", f"dump /{name} {to}", where], check=True, capture_output=True)
    return to.read_bytes()


def test_the_files_are_on_the_first_partition(tmp_path: Path) -> None:
    kernel, initrd = tmp_path / "vmlinuz-6.12", tmp_path / "i"
    kernel.write_bytes(os.urandom(3_000_001))
    initrd.write_bytes(b"")
    image = tmp_path / "disk.img"
    disk.write(image, {"Image": kernel, "initrd": initrd})
    table = image.read_bytes()[:512]
    kind, start, count = struct.unpack_from("<4xB3xII", table, 446)
    assert (kind, start * 512, (start + count) * 512) == (0x83, 1 << 20, image.stat().st_size)
    assert table[510:] == b"\x55\xaa" and table[462:510] == bytes(48)
    assert read_back(image, "Image", tmp_path / "back") == kernel.read_bytes()
    assert read_back(image, "initrd", tmp_path / "empty") == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["vmlinuz-6.12", "i", "disk.img", "back", "empty"]
    )


def test_who_has_the_old_disk_keeps_it(tmp_path: Path) -> None:
    kernel, image = tmp_path / "kernel", tmp_path / "disk.img"
    kernel.write_bytes(b"one")
    disk.write(image, {"Image": kernel})
    with image.open("rb") as old:
        before = old.read()
        disk.write(image, {"other": kernel})
        old.seek(0)
        assert old.read() == before != image.read_bytes()


def test_no_tool_and_no_room_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match=r"disk \S*/nowhere/disk.img could not be made: No such"):
        disk.write(tmp_path / "nowhere" / "disk.img", {})
    failing = tmp_path / "mke2fs"
    failing.write_text("#!/bin/sh\necho 'mke2fs: No space left' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        LabError, match=r"disk\.img\.\d+ could not be made: mke2fs says: mke2fs: No"
    ):
        disk.write(tmp_path / "disk.img", {})
    assert not list(tmp_path.glob("disk*"))
    monkeypatch.setattr(disk, "_ADMIN", "")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(LabError, match="mke2fs is not installed") as caught:
        disk.tool()
    assert "e2fsprogs" in caught.value.next_step
