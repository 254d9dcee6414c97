"""The console of a board that has none: nothing was said, and nothing will be."""

from __future__ import annotations

import threading
from collections.abc import Callable

from farm.board.console import ConsoleEvent


class NoConsole:
    """A :class:`farm.board.recorder.Console` without lines; waits last as long as asked for."""

    def mark(self) -> int:
        """Return the number of the next line."""
        return 0

    def tail(self, count: int) -> list[str]:
        """Return the last lines."""
        return []

    def since(self, mark: int) -> list[str]:
        """Return the lines from ``mark`` on."""
        return []

    def note(self, text: str) -> None:
        """Drop a line of our own."""

    def events_since(self, mark: int) -> list[ConsoleEvent]:
        """Return the complaints from line ``mark`` on."""
        return []

    def wait_event(
        self, mark: int, wanted: Callable[[ConsoleEvent], bool], timeout: float
    ) -> ConsoleEvent | None:
        """Return nothing, after ``timeout`` seconds."""
        threading.Event().wait(timeout)
        return None

    def wait_line(self, mark: int, wanted: Callable[[str], bool], timeout: float) -> int | None:
        """Return nothing, after ``timeout`` seconds."""
        threading.Event().wait(timeout)
        return None

    def wait_quiet(self, quiet: float, timeout: float) -> None:
        """Return at once: it is quiet."""
