"""Disk images that firmware loads a kernel from: one ext2 partition, made without root or mount.

The partition table is the classic one (UEFI specification, 5.2 "LBA 0 Format"); ``mke2fs`` fills
the file system from a folder. ext2 is what every boot loader's reader of ext4 knows whole.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from farm.errors import LabError

PARTITION_AT = 1 << 20
"""Where the partition begins, in bytes; partition programs align so."""

_SECTOR = 512
_LINUX = 0x83
_TABLE_AT = 446
_SLACK = 16 << 20
_ADMIN = f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def tool() -> str:
    """Return the path of ``mke2fs``, which is not on every user's PATH.

    Raises:
        LabError: it is not installed.
    """
    found = shutil.which("mke2fs", path=os.environ.get("PATH", os.defpath) + _ADMIN)
    if found is None:
        raise LabError(
            "mke2fs is not installed, and makes the disks of virtual boards",
            next_step="install it: apt install e2fsprogs",
        )
    return found


def write(image: Path, contents: Mapping[str, Path]) -> None:
    """Write a disk image whose first partition holds files under these names.

    The image appears whole or not at all; who has the old one open keeps it.

    Raises:
        LabError: ``mke2fs`` is missing or fails, for instance for want of disk space.
    """
    draft = image.with_name(f"{image.name}.{os.getpid()}")
    try:
        with tempfile.TemporaryDirectory(dir=image.parent, prefix="disk-") as folder:
            for name, file in contents.items():
                shutil.copyfile(file, Path(folder) / name)
            size = sum(file.stat().st_size for file in contents.values())
            size = (size + size // 16 + _SLACK) // _SECTOR * _SECTOR
            _partition(draft, size)
            _fill(draft, Path(folder), size)
        draft.replace(image)
    except OSError as error:
        raise LabError(
            f"disk {image} could not be made: {error.strerror}",
            next_step=f"check that there is room in {image.parent}",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _partition(image: Path, size: int) -> None:
    beyond = b"\xfe\xff\xff"  # no cylinder, head and sector: the block address counts
    start, count = PARTITION_AT // _SECTOR, size // _SECTOR
    entry = struct.pack("<B3sB3sII", 0x80, beyond, _LINUX, beyond, start, count)
    with image.open("wb") as stream:
        stream.write(bytes(_TABLE_AT) + entry.ljust(64, b"\0") + b"\x55\xaa")
        stream.truncate(PARTITION_AT + size)


def _fill(image: Path, folder: Path, size: int) -> None:
    done = subprocess.run(
        [
            *(tool(), "-q", "-F", "-t", "ext2", "-m", "0", "-b", "4096"),
            *("-E", f"offset={PARTITION_AT},root_owner=0:0", "-d", str(folder)),
            *(str(image), f"{size >> 10}k"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:]
        raise LabError(
            f"disk {image.name} could not be made: mke2fs says: {said}",
            next_step=f"check that there is room in {image.parent}",
        )
