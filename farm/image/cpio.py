"""A deterministic writer for the kernel's initramfs format: cpio "newc".

Equal trees give equal bytes: entries are sorted, times are zero, owner is root, inode numbers count
up. Source: Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_HEADER = 110
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One node of a file tree: ``mode`` has its type bits, ``data`` is content or link target."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Tree:
    """A root file system in the making; paths are absolute, parents appear by themselves.

    Adding a path again replaces the entry, as unpacking a second archive over the first would.
    """

    entries: dict[str, Entry] = field(default_factory=dict)

    def _put(self, path: str, entry: Entry) -> None:
        pure = PurePosixPath(path)
        if not pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"not an absolute path without '..': {path!r}")
        for parent in list(pure.parents)[-2::-1]:
            self.entries.setdefault(str(parent), Entry(stat.S_IFDIR | 0o755))
        self.entries[str(pure)] = entry

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._put(path, Entry(stat.S_IFDIR | mode))

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._put(path, Entry(stat.S_IFREG | mode, data))

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._put(path, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device node."""
        self._put(path, Entry(stat.S_IFCHR | mode, device=(major, minor)))


def _record(inode: int, name: str, entry: Entry) -> Iterator[bytes]:
    raw = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode, entry.mode, 0, 0, links, 0, len(entry.data),
        0, 0, *entry.device, len(raw), 0,
    )  # fmt: skip
    yield b"070701" + b"".join(b"%08X" % value for value in fields)
    yield raw
    yield bytes(-(_HEADER + len(raw)) % 4)
    yield entry.data
    yield bytes(-len(entry.data) % 4)


def pack(tree: Tree) -> bytes:
    """Return the tree as one newc archive, padded to 512 bytes so that another can be appended."""
    out = bytearray()
    nodes = sorted((path.lstrip("/"), entry) for path, entry in tree.entries.items() if path != "/")
    for inode, (name, entry) in enumerate(nodes, start=1):
        for part in _record(inode, name, entry):
            out += part
    for part in _record(0, _TRAILER, Entry(0)):
        out += part
    out += bytes(-len(out) % 512)
    return bytes(out)
