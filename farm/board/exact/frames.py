"""Lines that come over a serial line that the kernel writes to as well; see ``frame.c``.

::

    @farm begin
    @farm 0 3610a686 the first line
    @farm end 0d2f5a1c 0 1

What is not printable ASCII comes as ``\\xNN``, a backslash doubled. A line of over 1000 bytes goes
on in the next frame: what is not its end ends in one backslash. Each frame has a number and a
checksum (CRC-32 over the frame without it), the last one the exit status of what ran and the number
of frames. Whatever else stands between them is noise.
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
_ESCAPED = re.compile(rb"\\(?:x([0-9a-f]{2})|\\)")
_UNFINISHED = re.compile(r"(?:[^\\]|\\.)*\\")
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
    count = 0
    begun = ""
    for line in lines:
        if not line.startswith("@farm ") or line == BEGIN:
            continue
        tag, text = _checked(line)
        if tag == "end":
            end = _END.fullmatch(text)
            if end is None or int(end[2]) != count or begun:
                raise ProtocolError(
                    f"the board's answer has {count} frames and ends with {text[:40]!r}"
                )
            return Answer(tuple(found), int(end[1]))
        if int(tag) != count:
            raise ProtocolError(f"the board's answer has frame {tag} where {count} comes")
        count += 1
        begun += text
        if _UNFINISHED.fullmatch(text):
            begun = begun[:-1]
        else:
            found.append(_unescaped(begun))
            begun = ""
    raise ProtocolError(f"the board's answer is cut off after {count} frames")


def _unescaped(text: str) -> str:
    """Return a line as any other channel gives it; see :class:`farm.board.lines.LineSplitter`."""

    def byte(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if match[1] else b"\\"

    return _ESCAPED.sub(byte, text.encode()).decode("utf-8", errors="backslashreplace")


def _checked(line: str) -> tuple[str, str]:
    match = _FRAME.fullmatch(line)
    if match is None:
        raise ProtocolError(f"the board's answer has a damaged line {line[:80]!r}")
    tag, checksum, text = match.groups()
    if zlib.crc32(f"{tag} {text}".encode()) != int(checksum, 16):
        raise ProtocolError(f"the board's answer has a line with a wrong checksum: {line[:80]!r}")
    return tag, text
