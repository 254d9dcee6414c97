"""What the kernel complained about under test, each complaint once.

A complaint comes twice: in the kernel log, which a case's block brings, and on the console, whose
line may arrive after the block. :class:`Ledger` holds one against the other, so that a late line is
not taken for another complaint, and blamed on whatever runs by then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from farm.board.console import BANNERS, ConsoleEvent
from farm.board.recorder import Console

NOT_LOADED = "module_not_loaded"
"""Name of the complaint about a module that did not load at boot: init says so, not the kernel."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A complaint; ``excused`` says that nobody is to blame: provoked on purpose, or at boot."""

    event: ConsoleEvent
    excused: bool


def sentence(event: ConsoleEvent) -> str:
    """Return what a complaint means, with its line."""
    if event.pattern == NOT_LOADED:
        return event.line
    if event.pattern in BANNERS:
        what = "the board reset itself"
    else:
        what = "the kernel died" if event.fatal else "the kernel complained"
    return f"{what} ({event.pattern}): {event.line.strip()}"


class Ledger:
    """The complaints of one board from line :attr:`seen` of its console on.

    Each is entered by whoever judges it first: a case by :meth:`judge`, :meth:`hand_over` for
    what was said outside any case, :meth:`overdue` for what was said between two tests, and
    :meth:`excuse` for boots. What turns out to have been expected is forgiven (:meth:`forgive`).
    """

    def __init__(
        self, console: Console, since: int = 0, known: Sequence[re.Pattern[str]] = ()
    ) -> None:
        """Begin with the console's line ``since``; what a ``known`` line matches is excused."""
        self.seen = since
        self._known = known
        self._console = console
        self._entries: list[Complaint] = []
        self._outside: list[ConsoleEvent] = []
        self._late: list[ConsoleEvent] = []
        self._tolerated: set[str] = set()
        self._tolerated_before: set[str] = set()
        self._left_out: set[str] = set()

    @property
    def known(self) -> Sequence[re.Pattern[str]]:
        """What excuses the lines that it matches."""
        return self._known

    def leave_out(self, pattern: str) -> None:
        """Enter no such complaint from here on: somebody else knows whose it is."""
        self._left_out.add(pattern)

    def begin(self, tolerate: Collection[str]) -> int:
        """Let a case begin that provokes the patterns ``tolerate``; return the console's next line.

        Until the next :meth:`hand_over` these are excused outside any case, too.
        """
        self._tolerated.update(tolerate)
        return self._console.mark()

    def unjudged(self, tolerate: Collection[str] = ()) -> Callable[[ConsoleEvent], bool]:
        """Return what tells a fatal event, from :attr:`seen` on, that nobody has judged yet."""
        return lambda event: (
            event.fatal
            and not self._excused(event, tolerate)
            and not any(_is_line_of(told, event) for told in self._late)
        )

    def judge(
        self, mark: int, logged: Iterable[ConsoleEvent], tolerate: Collection[str]
    ) -> list[ConsoleEvent]:
        """Enter what came with a case, and return what of it is not tolerated.

        ``mark`` is the console's line at the case's start, ``logged`` what its kernel log says.
        """
        said = self._take()
        self._outside += [event for event in said if event.line_number < mark]
        own = [event for event in said if event.line_number >= mark]
        for entry in (one for one in logged if one.pattern not in self._left_out):
            if not any(_is_line_of(entry, event) for event in own):
                own.append(entry)
                self._late.append(entry)
        self._entries += [Complaint(event, self._excused(event, tolerate)) for event in own]
        return [event for event in own if not self._excused(event, tolerate)]

    def power_on(self, line: int) -> None:
        """Enter what was said before the board was switched on at the console's line ``line``."""
        self._outside += self._take(line)

    def excuse(self, until: int) -> None:
        """Enter what a boot said, up to the console's line ``until``; its banners are nothing."""
        said = self._take(until)
        self._entries += [Complaint(e, True) for e in said if e.pattern not in BANNERS]
        self._late.clear()

    def forgive(self, events: Collection[ConsoleEvent]) -> None:
        """Excuse what was entered since the last :meth:`hand_over`: somebody expected it."""
        self._entries = [
            replace(entry, excused=entry.excused or entry.event in events)
            for entry in self._entries
        ]

    def hand_over(self) -> list[Complaint]:
        """Return what was entered since last time, and what was said outside any case.

        The latter is excused where a case since last time tolerated the like.
        """
        found = self._drain(self._tolerated)
        self._tolerated_before, self._tolerated = self._tolerated, set()
        return found

    def overdue(self) -> list[Complaint]:
        """Return what was said since the last :meth:`hand_over`, before another test begins.

        It is excused where the test before tolerated the like.
        """
        return self._drain(self._tolerated_before)

    def _drain(self, tolerated: Collection[str]) -> list[Complaint]:
        self._outside += self._take()
        late = [Complaint(event, self._excused(event, tolerated)) for event in self._outside]
        found = sorted([*self._entries, *late], key=lambda entry: entry.event.line_number)
        self._entries.clear()
        self._outside.clear()
        return found

    def _excused(self, event: ConsoleEvent, tolerate: Collection[str]) -> bool:
        return event.pattern in tolerate or any(one.search(event.line) for one in self._known)

    def _take(self, until: int | None = None) -> Sequence[ConsoleEvent]:
        """Return what the console says that is new, less late lines of what was entered."""
        fresh = []
        for event in self._console.events_since(self.seen):
            if until is not None and event.line_number >= until:
                break
            self.seen = event.line_number + 1
            if event.pattern in self._left_out:
                continue
            told = next((one for one in self._late if _is_line_of(one, event)), None)
            if told is None:
                fresh.append(event)
            else:
                del self._late[: self._late.index(told) + 1]
        return fresh


def _is_line_of(logged: ConsoleEvent, event: ConsoleEvent) -> bool:
    """Tell whether a console line shows a record of the kernel log: the console adds the time."""
    return logged.line.strip() in event.line
