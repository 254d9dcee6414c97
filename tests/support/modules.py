"""Kernel modules that are nothing but their .modinfo section."""

from __future__ import annotations

import struct


def module(name: str, depends: str = "", **info: str) -> bytes:
    """Make an ELF64 file with nothing but a .modinfo section; ``info`` are further pairs."""
    pairs = {"license": "GPL", "depends": depends, "name": name, **info}
    text = "".join(f"{key}={value}\0" for key, value in pairs.items()).encode()
    names = b"\0.modinfo\0.shstrtab\0"
    sections = [
        (0, 0, 0, 0, 0, 0),
        (1, 1, 2, 0, 64, len(text)),
        (10, 3, 0, 0, 64 + len(text), len(names)),
    ]
    body = text + names
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x28, 64 + len(body))
    struct.pack_into("<HHH", header, 0x3A, 64, len(sections), 2)
    table = b"".join(struct.pack("<IIQQQQ", *s).ljust(64, b"\0") for s in sections)
    return bytes(header) + body + table
