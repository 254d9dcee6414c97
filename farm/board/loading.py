"""Kernel modules that a board was to load while it booted and did not, as its init says.

Init (``farm/image/init.sh``) writes what failed to a file, which the topology carries under
``unloaded``. Around each driver under test it also says on the console that it loads it, so that
a boot that ends there is told apart from a board that is broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from farm.board.complaints import NOT_LOADED
from farm.board.console import ConsoleEvent
from farm.board.recorder import Console
from farm.board.result import CaseComplaint
from farm.errors import BootError

DRIVER = "driver"
"""What init calls a driver under test; any other module is a ``module``."""
EXCERPT_LINES = 40

_SAID = re.compile(r"farm: (loading|loaded|cannot load) (?:driver|module) ([\w-]+)")


class DriverNotLoaded(CaseComplaint):
    """A driver under test did not load, or the kernel died or hung in it: nothing else counts."""


def check_drivers(topology: Mapping[str, Any], console: Console) -> list[ConsoleEvent]:
    """Return the complaints about modules of the image that did not load in this boot.

    Raises:
        DriverNotLoaded: a driver under test is among them.
    """
    found = []
    for row in topology["unloaded"]:
        under_test = row["kind"] == DRIVER
        what = "driver under test" if under_test else "the image's kernel module"
        said = f"{what} {row['module']} did not load: {row['reason']}"
        event = ConsoleEvent(NOT_LOADED, False, said, _line_about(row["module"], console))
        if under_test:
            raise _not_loaded(event, console)
        found.append(event)
    return found


def blame_driver(error: BootError, console: Console) -> None:
    """Say so where a boot failed after a driver under test began to load and was not loaded.

    Raises:
        DriverNotLoaded: that is how ``error`` came about.
    """
    pending = _pending(console.since(0))
    if pending:
        said = f"driver under test {pending[0]} did not load: {error}"
        event = ConsoleEvent(NOT_LOADED, True, said, _line_about(pending[0], console))
        raise _not_loaded(event, console) from error


def _pending(lines: Iterable[str]) -> list[str]:
    """Return the drivers under test of which the lines say that they load, but not that they did.

    One that ``cannot`` load stays among them: what needs it may be why the boot failed.
    """
    names: dict[str, None] = {}
    for line in lines:
        if (match := _SAID.search(line)) is None:
            continue
        if match[1] == "loading":
            names[match[2]] = None
        elif match[1] == "loaded":
            names.pop(match[2], None)
    return list(names)


def _line_about(module: str, console: Console) -> int:
    """Return the number of the last console line in which init names the module, or the next."""
    lines = console.since(0)
    first = console.mark() - len(lines)  # the recording keeps the last lines only
    said = ((n, _SAID.search(line)) for n, line in enumerate(lines, start=first))
    about = [n for n, match in said if match is not None and match[2] == module]
    return about[-1] if about else console.mark()


def _not_loaded(event: ConsoleEvent, console: Console) -> DriverNotLoaded:
    start = event.line_number if event.fatal else max(0, event.line_number - 5)
    lines = console.since(start)[:EXCERPT_LINES]
    return DriverNotLoaded(event.line, events=(event,), excerpt=tuple(lines), fatal=event.fatal)
