"""What the kernel says between two tests: blamed on the one that has just ended.

Its verdict stands in the journal by then; an event of its own makes it a failure.
"""

from __future__ import annotations

from collections.abc import Callable

from farm import events
from farm.board.complaints import sentence
from farm.model import Verdict
from farm.pytest_plugin.job import Job


class Overdue:
    """Remembers the test that ended last, and fails it for what the kernel says after its end."""

    def __init__(self, job: Job, changed: Callable[[Verdict], None]) -> None:
        """Look at the board of ``job``; ``changed`` gets the verdict that a failure replaces."""
        self.blamed: list[events.CaseBlamed] = []
        self._job = job
        self._changed = changed
        self._last: tuple[str, int, Verdict] | None = None

    def ended(self, nodeid: str, attempt: int, verdict: Verdict) -> None:
        """Note that a test has ended, with its last attempt's verdict."""
        self._last = (nodeid, attempt, verdict)

    def settle(self, before: str) -> None:
        """Blame what was said since the last test's end on it; ``before`` comes next, or nothing.

        A test that failed has its reason already.
        """
        nodeid, attempt, verdict = self._last or ("", 0, Verdict.FAIL)
        self._last = None
        found = self._job.write_overdue(nodeid)
        if not found or verdict is Verdict.FAIL:
            return
        event = next((one for one in found if one.fatal), found[0])
        when = f"between the end of this test and {before}" if before else "after the last test"
        blame = events.CaseBlamed(
            nodeid=nodeid,
            attempt=attempt,
            reason=f"{sentence(event)} ({when})",
            console=self._job.excerpt(event),
        )
        self._job.write(blame)
        self.blamed.append(blame)
        self._changed(verdict)
