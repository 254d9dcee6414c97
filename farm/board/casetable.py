"""The table of cases in a payload binary, read from the ELF file without running it.

Every ``CASE(…)`` puts the address of its ``struct farm_case`` (``testsuites/payload/farm.h``) into
the section ``farm_cases``. The payload is linked at fixed addresses, so both can be followed in
the file, whatever machine it is for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from farm.errors import UsageError

_SECTION = "farm_cases"
_DEFAULT_TIMEOUT_MS = 10_000  # list.c
_LOAD = 1  # PT_LOAD
_MAX_CASES = 10_000
_MAX_TEXT = 4096


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One registered case as the binary has it; ``params`` is the C text (``key=default …``)."""

    name: str
    doc: str
    file: str
    line: int
    timeout_ms: int
    params: str
    needs: str


def read_case_table(binary: bytes) -> tuple[TableEntry, ...]:
    """Return the cases of a payload, in the order of their files and lines.

    Raises:
        UsageError: it is not a payload: not a little-endian ELF64 executable with that section.
    """
    try:
        return _Elf(binary).cases()
    except (struct.error, ValueError, OverflowError) as error:
        raise UsageError(
            f"not a payload binary: {error}", next_step="build it with farm.board.payload.build"
        ) from error


class _Elf:
    def __init__(self, data: bytes) -> None:
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("expected a little-endian ELF64 file")
        self._data = data
        self._phoff, self._shoff = struct.unpack_from("<QQ", data, 32)
        self._phnum = struct.unpack_from("<H", data, 56)[0]
        self._shnum, self._shstrndx = struct.unpack_from("<HH", data, 60)

    def cases(self) -> tuple[TableEntry, ...]:
        offset, size = self._section(_SECTION)
        if size % 8 or size // 8 > _MAX_CASES:
            raise ValueError(f"section {_SECTION} has {size} bytes, expected 8 for each case")
        entries = [
            self._entry(pointer)
            for (pointer,) in struct.iter_unpack("<Q", self._data[offset : offset + size])
        ]
        return tuple(sorted(entries, key=lambda entry: (entry.file, entry.line)))

    def _entry(self, address: int) -> TableEntry:
        name, doc, file, line, _run, timeout_ms, params, needs = struct.unpack_from(
            "<QQQi4xQI4xQQ", self._data, self._offset(address)
        )
        return TableEntry(
            name=self._text(name),
            doc=self._text(doc),
            file=self._text(file),
            line=line,
            timeout_ms=timeout_ms or _DEFAULT_TIMEOUT_MS,
            params=self._text(params) if params else "",
            needs=self._text(needs) if needs else "",
        )

    def _section(self, wanted: str) -> tuple[int, int]:
        names = self._section_header(self._shstrndx)[1]
        for index in range(self._shnum):
            name, offset, size = self._section_header(index)
            if self._text_at(names + name) == wanted:
                return offset, size
        raise ValueError(f"it has no section {wanted}")

    def _section_header(self, index: int) -> tuple[int, int, int]:
        """Return the name's place in the string table, the file offset and the size."""
        name, _type, _flags, _address, offset, size = struct.unpack_from(
            "<IIQQQQ", self._data, self._shoff + 64 * index
        )
        return name, offset, size

    def _offset(self, address: int) -> int:
        for index in range(self._phnum):
            kind, _flags, offset, start, _physical, size = struct.unpack_from(
                "<IIQQQQ", self._data, self._phoff + 56 * index
            )
            if kind == _LOAD and start <= address < start + size:
                return int(offset + address - start)
        raise ValueError(f"address {address:#x} is in no loaded segment")

    def _text(self, address: int) -> str:
        return self._text_at(self._offset(address))

    def _text_at(self, offset: int) -> str:
        end = self._data.index(b"\0", offset, offset + _MAX_TEXT)
        return self._data[offset:end].decode("utf-8")
