"""Lines that come over a serial line that the kernel writes to as well; see ``frame.c``.

::

    @farm begin
    @farm 0 3610a686 the first line
    @farm end 0d2f5a1c 0 1

Each line has a number and a checksum (CRC-32 over the line without it), the last one the exit
status of what ran and the number of lines. Whatever else stands between them is noise.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from farm.errors import ProtocolError

BEGIN = "@farm begin"
"""The line after which the command runs."""

_FRAME = re.compile(r"@farm (\d{1,7}|end) ([0-9a-f]{8}) (.*)")
_END = re.compile(r"(\d{1,3}) (\d{1,7})")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit status."""

    lines: tuple[str, ...]
    status: int


def is_end(line: str) -> bool:
    """Return whether a line of the console is the last frame."""
    return line.startswith("@farm end ")


def unframe(lines: Iterable[str]) -> Answer:
    """Return what the frames among the console's lines hold.

    Raises:
        ProtocolError: a frame is damaged or missing.
    """
    found: list[str] = []
    for line in lines:
        if not line.startswith("@farm ") or line == BEGIN:
            continue
        tag, text = _checked(line)
        if tag == "end":
            end = _END.fullmatch(text)
            if end is None or int(end[2]) != len(found):
                raise ProtocolError(
                    f"the board's answer has {len(found)} lines and ends with {text[:40]!r}"
                )
            return Answer(tuple(found), int(end[1]))
        if int(tag) != len(found):
            raise ProtocolError(f"the board's answer has line {tag} where {len(found)} comes")
        found.append(text)
    raise ProtocolError(f"the board's answer is cut off after {len(found)} lines")


def _checked(line: str) -> tuple[str, str]:
    match = _FRAME.fullmatch(line)
    if match is None:
        raise ProtocolError(f"the board's answer has a damaged line {line[:80]!r}")
    tag, checksum, text = match.groups()
    if zlib.crc32(f"{tag} {text}".encode()) != int(checksum, 16):
        raise ProtocolError(f"the board's answer has a line with a wrong checksum: {line[:80]!r}")
    return tag, text
