"""Cuts a stream of bytes from a payload into lines of bounded length."""

from __future__ import annotations

from farm.errors import ProtocolError

MAX_LINE = 64 << 10
"""Longest line of the payload's protocol, in bytes."""


class LineSplitter:
    """Incremental: however the bytes are cut into chunks, the lines are the same."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        """Refuse lines of more than ``limit`` bytes."""
        self._limit = limit
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that ``data`` completes, without their ends.

        Bad UTF-8 is shown as escapes; it never matches the protocol's own words.

        Raises:
            ProtocolError: a line is longer than the limit.
        """
        self._partial += data
        *whole, rest = self._partial.split(b"\n")
        self._partial = bytearray(rest)
        for line in (*whole, rest):
            if len(line) > self._limit:
                raise ProtocolError(
                    f"the payload sent a line of more than {self._limit} bytes: "
                    f"{bytes(line[:60])!r}…"
                )
        return [line.rstrip(b"\r").decode("utf-8", errors="backslashreplace") for line in whole]

    @property
    def partial(self) -> str:
        """Return the line that has not ended yet."""
        return self._partial.decode("utf-8", errors="backslashreplace")
