"""Lines of a file that another process still writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class Tail:
    """Gives each whole line once; a last line without its end waits until it has one."""

    def __init__(self, path: Path) -> None:
        """Follow the file at ``path``, which need not exist yet."""
        self._path = path
        self._offset = 0

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that were written since the last call, with their ends."""
        try:
            stream = self._path.open("rb")
        except OSError:
            return
        with stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line


def last_lines(path: Path, count: int, *, most: int = 1 << 16) -> list[str]:
    """Return the last whole lines of a file that are not blank, from its last ``most`` bytes."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - most))
            lines = stream.read(most).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:] if count > 0 else []
