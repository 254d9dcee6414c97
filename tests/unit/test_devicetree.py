"""Editing a flattened device tree."""

from __future__ import annotations

import contextlib
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import inventory
from farm.lab import devicetree, qemu
from farm.lab.devicetree import COHERENT, without_property


def tree() -> bytes:
    """Make a tree of one node with a coherent and another property, and spare room behind it."""
    strings = b"dma-coherent\0reg\0"
    node = struct.pack(">I", 1) + b"\0\0\0\0"
    node += struct.pack(">I", 1) + b"pcie@1\0\0"
    node += struct.pack(">3I", 3, 0, 0)
    node += struct.pack(">3I", 3, 5, 13) + b"12345\0\0\0"
    node += struct.pack(">4I", 2, 2, 4, 9)
    at = 56
    total = at + len(node) + len(strings)
    header = struct.pack(
        ">10I", 0xD00DFEED, total + 400, at, at + len(node), 40, 17, 16, 0, len(strings), len(node)
    )
    return header + bytes(16) + node + strings + bytes(400)


def test_a_property_goes_and_nothing_moves() -> None:
    edited, count = without_property(tree(), COHERENT)
    assert count == 1
    assert len(edited) == len(tree()) - 400 == struct.unpack_from(">I", edited, 4)[0]
    assert without_property(edited, COHERENT) == (edited, 0)
    assert without_property(edited, "reg")[1] == 1
    assert b"12345" in edited


@given(st.binary(max_size=400), st.integers(0, 300))
def test_any_bytes_are_a_tree_or_our_error(noise: bytes, at: int) -> None:
    damaged = bytearray(tree())
    damaged[at : at + len(noise)] = noise
    for data in (noise, bytes(damaged)):
        with contextlib.suppress(ValueError):
            edited, _ = without_property(data, COHERENT)
            assert len(edited) <= len(data)


@pytest.mark.skipif(shutil.which(qemu.BINARY) is None, reason="no QEMU")
def test_qemu_s_tree_loses_every_coherent_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hardware = inventory.load_board_types()["virt-noncoherent"].virtual
    assert hardware is not None and not hardware.coherent
    path = devicetree.noncoherent(hardware, "7.2")
    blob = path.read_bytes()
    assert without_property(blob, COHERENT)[1] == 0
    assert len(blob) < 1 << 16  # QEMU doubles it, and the kernel takes 2 MiB
    assert devicetree.noncoherent(hardware, "7.2") == path
