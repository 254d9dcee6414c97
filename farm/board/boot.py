"""From power-on to a board that answers: waits, and watches the console meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from farm.board.console import BANNERS, LOADER_BANNERS, ConsoleEvent
from farm.board.noconsole import NoConsole
from farm.board.recorder import Console
from farm.errors import BootError

EXCERPT_LINES = 40
"""Console lines that go with a boot failure."""
BOOT_LOOP = 3
"""So many starts of the kernel, or of the boot loader, in one boot are a boot loop."""
_LAST_LINES = 3
_LAST_LINE = 160
_FIRST_TRY_S = 0.3
_LONGEST_TRY_S = 5.0
_TRY_GROWTH = 1.1
"""How much longer each try is: what is lost while the board has no network is a part of one."""
_PAUSE_S = 0.1
_SELDOM_S = 2.0
"""How often a board is tried that has yet to say that it is ready: its console may be garbled."""
_READY = re.compile("farm: ready ")
"""What the init of our images says once the SSH server listens (farm/image/init.sh)."""


class BootFailed(BootError):
    """A boot that failed; ``excerpt`` holds the last console lines."""

    def __init__(
        self, message: str, excerpt: list[str], next_step: str = "read the console log"
    ) -> None:
        """Keep the console's last words with the sentence."""
        super().__init__(message, next_step=next_step)
        self.excerpt = tuple(excerpt)


class BootWatch:
    """Looks at what a console says, from its line ``mark`` at power-on, for a boot that fails."""

    def __init__(self, console: Console, mark: int) -> None:
        """Watch a board that is being switched on."""
        self._console = console
        self._mark = mark
        self._settled: tuple[int, str] | None = None

    def expect_no_reset(self, after: str) -> None:
        """From now on the boot loader must not start again; ``after`` names what came just now.

        What then boots would not be what is under test.
        """
        self._settled = (self._console.mark(), after)

    def check(self) -> None:
        """Look once.

        Raises:
            BootFailed: kernel or boot loader died, or the board reset itself or boots in circles.
        """
        events = self._events()
        deadly = next((event for event in events if _deadly(event)), None)
        if deadly is not None:
            self._console.wait_quiet(0.3, 3.0)
            raise BootFailed(
                f"the board died while it booted: {deadly.line.strip()}",
                self._console.tail(EXCERPT_LINES),
            )
        if what := _circling(events):
            raise self.failed(f"the board boots in circles: {what} started {BOOT_LOOP} times")
        if self._settled is not None:
            mark, after = self._settled
            again = (e for e in events if e.pattern in LOADER_BANNERS and e.line_number >= mark)
            if (event := next(again, None)) is not None:
                start = max(self._mark, event.line_number - EXCERPT_LINES + 1)
                lines = self._console.since(start)[: event.line_number - start + 1]
                raise BootFailed(f"the board reset itself after {after}; {_words(lines)}", lines)

    def wait(self, timeout: float) -> None:
        """Return after ``timeout`` seconds, or earlier if :meth:`check` has something to say."""
        self._console.wait_event(self._mark, lambda event: self._failing(), timeout)

    def wait_ready(self, timeout: float) -> bool:
        """Return whether the board says that it is ready, within ``timeout`` seconds.

        It returns earlier, too, if :meth:`check` has something to say.
        """

        def told(line: str) -> bool:
            return bool(_READY.match(line)) or self._failing()

        return self._console.wait_line(self._mark, told, timeout) is not None

    def _failing(self) -> bool:
        events = self._events()
        return any(map(_deadly, events)) or bool(_circling(events))

    def _events(self) -> list[ConsoleEvent]:
        return self._console.events_since(self._mark)

    def failed(self, what: str, said: list[str] | None = None) -> BootFailed:
        """Return the failure that ``what`` describes, with its last lines or else the console's."""
        if isinstance(self._console, NoConsole):
            return BootFailed(f"{what}; the board has no console", [], "look at the board itself")
        tail = self._console.tail(EXCERPT_LINES)
        return BootFailed(f"{what}; {_words(said or tail)}", tail)


def await_ready(
    watch: BootWatch,
    probe: Callable[[float], bool],
    limit_s: float,
    *,
    since: str = "power-on",
    announced: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once ``probe`` (given a time limit in seconds) says that the board answers.

    ``since`` is what the time limit counts from. ``announced`` says that the board tells on its
    console when it is ready: until then it is tried seldom. Whatever is between may keep a try
    and hand it on to the board later, which then has each of them to answer as well.

    Raises:
        BootFailed: ``watch`` has something to say, or it took over ``limit_s``.
    """
    deadline = clock() + limit_s
    try_s = _FIRST_TRY_S
    while True:
        watch.check()
        left = deadline - clock()
        if left <= 0:
            raise watch.failed(f"no SSH within {limit_s:g} s of {since}")
        if announced and watch.wait_ready(min(_SELDOM_S, left)):
            watch.check()
            announced, try_s = False, _LONGEST_TRY_S
        if probe(min(try_s, left)):
            watch.check()
            return
        try_s = min(try_s * _TRY_GROWTH, _LONGEST_TRY_S)
        watch.wait(min(_PAUSE_S, max(left, 0.0)))


def _words(said: list[str]) -> str:
    lines = [line.strip()[:_LAST_LINE] for line in said if line.strip()]
    last = " | ".join(lines[-_LAST_LINES:])
    return f"the console's last lines: {last}" if last else "the console is silent"


def _circling(events: Sequence[ConsoleEvent]) -> str:
    """Return what has started so often that the board boots in circles, or an empty string."""
    for pattern, what in BANNERS.items():
        if sum(event.pattern == pattern for event in events) >= BOOT_LOOP:
            return what
    return ""


def _deadly(event: ConsoleEvent) -> bool:
    return event.fatal and event.pattern not in BANNERS
