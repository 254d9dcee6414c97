"""The device tree of a virtual board whose devices do not snoop the CPU's caches.

QEMU says ``dma-coherent`` wherever a device could do DMA. Its device tree is dumped and handed back
without that property, so that the kernel cleans and invalidates caches as on such hardware. What a
forgotten cleaning does to the data cannot be seen: the emulator has no caches.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import tempfile
from pathlib import Path

from farm import paths
from farm.errors import LabError
from farm.inventory import VirtualHardware
from farm.lab import qemu

COHERENT = "dma-coherent"

_MAGIC = 0xD00DFEED
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
_LARGEST = 4 << 20
_DUMP_S = 30.0


def quoted(path: Path) -> str:
    """Return a path as a value among QEMU's comma-separated options."""
    return str(path).replace(",", ",,")


def without_property(blob: bytes, name: str) -> tuple[bytes, int]:
    """Return a flattened device tree without a property, and how often it stood there.

    Its tokens become no-operations, so nothing moves; what is spare behind the tree goes, because
    QEMU doubles what it is given and the kernel takes 2 MiB at most. Format: devicetree
    specification, chapter 5.

    Raises:
        ValueError: the bytes are no flattened device tree.
    """
    tree = bytearray(blob)
    count = 0
    try:
        magic, _, at, strings = struct.unpack_from(">4I", tree, 0)
        used = max(strings + struct.unpack_from(">I", tree, 32)[0], at)
        if magic != _MAGIC:
            raise ValueError("no flattened device tree")
        while True:
            (token,) = struct.unpack_from(">I", tree, at)
            begin = at
            at += 4
            if token == _END:
                used = min(max(used, at), len(tree))
                struct.pack_into(">I", tree, 4, used)
                return bytes(tree[:used]), count
            if token == _BEGIN_NODE:
                at = (tree.index(0, at) + 4) & ~3
            elif token == _PROPERTY:
                length, offset = struct.unpack_from(">2I", tree, at)
                at = (at + 8 + length + 3) & ~3
                start = strings + offset
                if tree[start : tree.index(0, start)] == name.encode():
                    tree[begin:at] = struct.pack(">I", _NOP) * ((at - begin) // 4)
                    count += 1
            elif token not in (_END_NODE, _NOP):
                raise ValueError(f"token {token} at byte {begin}")
    except (struct.error, IndexError) as error:
        raise ValueError(f"damaged device tree: {error}") from error


def noncoherent(hardware: VirtualHardware, emulator: str) -> Path:
    """Return the file with a board's device tree without ``dma-coherent``; ``emulator``: version.

    Raises:
        LabError: QEMU does not give its device tree, or gives one that never was coherent.
    """
    shape = ["-machine", hardware.machine, "-cpu", hardware.cpu]
    shape += ["-smp", qemu.cpus(hardware.smp), "-m", str(hardware.memory_mib)]
    name = hashlib.sha256(repr([emulator, shape]).encode()).hexdigest()[:16]
    folder = paths.cache_dir() / "devicetrees"
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}.dtb"
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        dumped = Path(temporary) / "dump.dtb"
        shape[1] += f",dumpdtb={quoted(dumped)}"
        argv = [qemu.binary(), *shape, "-nodefaults", "-no-user-config", "-display", "none"]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DUMP_S, check=False
            )
            tree, count = without_property(dumped.read_bytes()[:_LARGEST], COHERENT)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"QEMU gives no device tree within {_DUMP_S:g} s") from error
        except (OSError, ValueError) as error:
            said = done.stderr.decode("utf-8", "replace").strip()[-200:]
            raise LabError(
                f"QEMU gives no device tree for machine {hardware.machine!r}: {said or error}",
                next_step="correct 'farm: virtual:' in the board config",
            ) from error
        if count == 0:
            raise LabError(
                f"the device tree of machine {hardware.machine!r} says {COHERENT} nowhere",
                next_step="drop 'coherent: false' from the board config",
            )
        edited = dumped.with_suffix(f".{os.getpid()}")
        edited.write_bytes(tree)
        edited.replace(target)
    return target
