"""Kernel modules: which of them to put into an image, and in which order to load them.

The order comes from the modules' own ``.modinfo`` section (include/linux/module.h), so neither
depmod nor the kernel's generated tables are needed.
"""

from __future__ import annotations

import lzma
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from farm.errors import ImageError

_MAX_MODULE = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,55}")  # MODULE_NAME_LEN, include/linux/moduleparam.h


def canonical(name: str) -> str:
    """Return a module's name as the kernel writes it: dashes are underscores."""
    return name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Module:
    """One module: ``path`` relative to ``/lib/modules/RELEASE`` without compression suffix."""

    name: str
    path: str
    data: bytes
    depends: tuple[str, ...]


def modinfo(data: bytes) -> dict[str, list[str]]:
    """Return the ``key=value`` pairs of an ELF64 module's ``.modinfo`` section.

    Raises:
        ValueError: the bytes are no little-endian ELF64 file with such a section.
    """
    try:
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("no little-endian ELF64 file")
        (offset,) = struct.unpack_from("<Q", data, 0x28)
        size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
        sections = [struct.unpack_from("<IIQQQQ", data, offset + i * size) for i in range(count)]
        names = sections[names_index][4]
        for name, _, _, _, start, length in sections:
            at = names + name
            if data[at : data.index(b"\0", at)] == b".modinfo":
                text = data[start : start + length].decode("utf-8", "replace")
                break
        else:
            raise ValueError("no .modinfo section")
    except (struct.error, OverflowError, IndexError) as error:
        raise ValueError(f"damaged ELF file: {error}") from error
    found: dict[str, list[str]] = {}
    for line in text.split("\0"):
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def decompress(path: Path) -> bytes:
    """Return a module file's content: plain, ``.xz`` or ``.gz``.

    Raises:
        ImageError: the compression is another one, or the file is damaged or too large.
    """
    raw = path.read_bytes()
    try:
        match path.suffix:
            case ".ko":
                data = raw
            case ".xz":
                data = lzma.LZMADecompressor().decompress(raw, _MAX_MODULE)
            case ".gz":
                data = zlib.decompressobj(wbits=31).decompress(raw, _MAX_MODULE)
            case other:
                raise ImageError(f"{path.name}: expected .ko, .ko.xz or .ko.gz, found {other!r}")
    except (lzma.LZMAError, zlib.error) as error:
        raise ImageError(f"{path.name}: damaged kernel module: {error}") from error
    if len(data) >= _MAX_MODULE:
        raise ImageError(f"{path.name}: kernel module of {_MAX_MODULE >> 20} MiB or more")
    return data


def own_name(path: Path, data: bytes) -> str:
    """Return what the kernel calls a module, which its file's name need not be.

    Raises:
        ValueError: the bytes are no kernel module, or its name is none that a kernel takes.
    """
    name = modinfo(data).get("name", [path.name.split(".ko")[0]])[0]
    if not _NAME.fullmatch(name):
        raise ValueError(f"it calls itself {name[:60]!r}, expected letters, digits, '_' and '-'")
    return canonical(name)


def vermagic(data: bytes) -> str:
    """Return a module's ``vermagic``, or nothing where it has none.

    Raises:
        ValueError: the bytes are no kernel module.
    """
    return " ".join(modinfo(data).get("vermagic", [""])[0].split())


class ModuleFolder:
    """The modules below one ``lib/modules/RELEASE`` folder, read as they are asked for."""

    def __init__(self, root: Path, added: Mapping[str, Path] = MappingProxyType({})) -> None:
        """Index the folder by module name; nothing is decompressed yet.

        ``added`` are further modules by their canonical names, which stand in for those of the
        same name and land in ``extra/``.
        """
        self._root = root
        self._files = {canonical(p.name.split(".ko")[0]): p for p in root.rglob("*.ko*")}
        self._added = dict(added)
        self._files.update(self._added)
        listed = root / "modules.builtin"
        lines = listed.read_text().split() if listed.is_file() else []
        self._builtin = {canonical(Path(line).name.removesuffix(".ko")) for line in lines}
        self._read: dict[str, Module] = {}

    def _module(self, name: str) -> Module:
        if name not in self._read:
            path = self._files[name]
            data = decompress(path)
            try:
                info = modinfo(data)
            except ValueError as error:
                raise ImageError(f"{path.name}: {error}") from error
            depends = tuple(
                canonical(word)
                for line in info.get("depends", [])
                for word in line.split(",")
                if word
            )
            if name in self._added:
                relative = f"extra/{name}.ko"
            else:
                relative = path.relative_to(self._root).as_posix()
            self._read[name] = Module(name, relative[: relative.index(".ko") + 3], data, depends)
        return self._read[name]

    @property
    def added(self) -> list[str]:
        """Return the names of the further modules."""
        return list(self._added)

    def has(self, name: str) -> bool:
        """Return whether a module is in the folder or built in."""
        return canonical(name) in self._files or canonical(name) in self._builtin

    @property
    def vermagic(self) -> str:
        """Return what the kernel expects a module's ``vermagic`` to be; empty without modules."""
        own = sorted(name for name in self._files if name not in self._added)
        return vermagic(decompress(self._files[own[0]])) if own else ""

    def closure(self, wanted: Iterable[str]) -> list[Module]:
        """Return the wanted modules and all that they need, each after what it needs.

        The order of ``wanted`` is kept where needs allow; what is built in is left out.

        Raises:
            ImageError: a module, or one that it needs, is neither in the folder nor built in.
        """
        order: dict[str, Module] = {}

        def visit(name: str, needed_by: str) -> None:
            if name in order or (name in self._builtin and name not in self._added):
                return
            if name not in self._files:
                raise ImageError(
                    f"kernel module {name!r}{needed_by} is not in {self._root.name}",
                    next_step="name modules that this kernel has in the image profile's 'modules'",
                )
            module = self._module(name)
            for other in module.depends:
                visit(other, f" (needed by {name!r})")
            order[name] = module

        for name in wanted:
            visit(canonical(name), "")
        return list(order.values())
