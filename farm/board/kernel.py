"""Kernel releases that can be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from farm.errors import ProtocolError

_RELEASE = re.compile(r"(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?\S{0,200}")


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class KernelRelease:
    """A release as in ``uname -r``; order and equality look at its three numbers only."""

    text: str
    numbers: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> KernelRelease:
        """Read a release such as ``6.12.107-arm64``.

        Raises:
            ProtocolError: it is none.
        """
        match = _RELEASE.fullmatch(text)
        if match is None:
            raise ProtocolError(f"the board says that its kernel is {text[:80]!r}")
        return cls(text, (int(match[1]), int(match[2]), int(match[3] or 0)))

    def at_least(self, major: int, minor: int = 0, patch: int = 0) -> bool:
        """Return whether this kernel is of that version or a later one."""
        return self.numbers >= (major, minor, patch)

    def __eq__(self, other: object) -> bool:
        """Compare version numbers."""
        return isinstance(other, KernelRelease) and self.numbers == other.numbers

    def __lt__(self, other: KernelRelease) -> bool:
        """Compare version numbers."""
        return self.numbers < other.numbers

    def __hash__(self) -> int:
        """Hash the version numbers."""
        return hash(self.numbers)

    def __str__(self) -> str:
        """Return the release as the board says it."""
        return self.text
