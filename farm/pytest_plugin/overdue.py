"""What shows of a test only after its end: it is blamed on it, though its verdict is written down.

That is what the kernel says between two tests, and the memory that kmemleak finds lost. An event of
its own makes the test a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from farm import events
from farm.board.complaints import sentence
from farm.board.console import ConsoleEvent
from farm.board.judging import EXCERPT_LINES
from farm.board.kmemleak import PATTERN
from farm.model import Verdict
from farm.pytest_plugin.job import Job


class Overdue:
    """Remembers the tests that ended, and fails one for what shows after its end."""

    def __init__(self, job: Job, changed: Callable[[Verdict], None]) -> None:
        """Look at the board of ``job``; ``changed`` gets the verdict that a failure replaces."""
        self.blamed: list[events.CaseBlamed] = []
        self._job = job
        self._changed = changed
        self._ended: dict[str, tuple[int, Verdict]] = {}
        self._last = ""

    def ended(self, nodeid: str, attempt: int, verdict: Verdict) -> None:
        """Note that a test has ended, with its last attempt's verdict."""
        self._ended[nodeid] = (attempt, verdict)
        self._last = nodeid

    def settle(self, before: str) -> None:
        """Blame what was said since the last test's end on it; ``before`` comes next."""
        nodeid, self._last = self._last, ""
        found = self._job.write_overdue(nodeid)
        if not found or self._has_failed(nodeid):
            return
        event = next((one for one in found if one.fatal), found[0])
        when = f"between the end of this test and {before}" if before else "after the last test"
        self._blame(nodeid, event, when, self._job.excerpt(event))

    def settle_memory(self, when: str) -> None:
        """Blame each test for the memory that it lost; ``when`` says when it was looked for."""
        for leak in self._job.write_leaks():
            if not self._has_failed(leak.owner):
                told = [line for one in leak.objects for line in one.lines]
                event = ConsoleEvent(PATTERN, False, str(leak), 0)
                self._blame(leak.owner, event, when, told[:EXCERPT_LINES])

    def _has_failed(self, nodeid: str) -> bool:
        """Return whether a test has its reason already; so has one of another process."""
        return self._ended.get(nodeid, (0, Verdict.FAIL))[1] is Verdict.FAIL

    def _blame(self, nodeid: str, event: ConsoleEvent, when: str, console: Sequence[str]) -> None:
        attempt, verdict = self._ended[nodeid]
        self._ended[nodeid] = (attempt, Verdict.FAIL)
        blame = events.CaseBlamed(
            nodeid=nodeid,
            attempt=attempt,
            reason=f"{sentence(event)} ({when})",
            console=list(console),
        )
        self._job.write(blame)
        self.blamed.append(blame)
        self._changed(verdict)
