"""A run's progress on stderr: a live table of boards on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from farm.model import Verdict
from farm.run.tail import last_lines
from farm.run.view import JobView

STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.ERROR: "bold red",
    Verdict.XPASS: "bold red",
    Verdict.NEW: "bold blue",
    Verdict.INFRA: "magenta",
    Verdict.MISS: "magenta",
    Verdict.XFAIL: "yellow",
    Verdict.SKIP: "dim",
}
"""How each verdict looks on a terminal."""

LOUD = frozenset(
    {Verdict.FAIL, Verdict.ERROR, Verdict.XPASS, Verdict.NEW, Verdict.INFRA, Verdict.MISS},
)
"""Verdicts that are told as they happen."""

CONSOLE = "console.log"
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ")


class Shown(Protocol):
    """A job whose progress is shown; the last two remember what was told of it."""

    @property
    def view(self) -> JobView:
        """The job as far as its journal tells."""

    @property
    def folder(self) -> Path:
        """Where its console is recorded."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""

    findings_told: int
    state_told: str


class LiveProgress:
    """A table that is redrawn in place; lines about failures scroll above it."""

    def __init__(self, console: Console) -> None:
        """Draw on a terminal."""
        self._live = Live(console=console, refresh_per_second=5, transient=True)
        self._lines = _Lines(lambda text: self._live.console.print(text))
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wipe the table away."""
        self._live.stop()

    def update(self, jobs: Sequence[Shown]) -> None:
        """Redraw."""
        self._lines.failures(jobs)
        self._live.update(self._table(jobs))

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._live.console.print(Text(plain(text)))

    def _table(self, jobs: Sequence[Shown]) -> Table:
        elapsed = time.monotonic() - self._start
        table = Table(box=None, pad_edge=False, title=f"{elapsed:.0f} s", title_justify="left")
        for head in ("board", "state", "cases", "verdicts", "now"):
            table.add_column(head, header_style="bold", no_wrap=head != "now")
        for job in jobs:
            view = job.view
            now = view.current or view.detail
            table.add_row(
                Text(plain(view.board), style="bold"),
                Text("done" if job.over else plain(view.state)),
                Text(f"{view.done}/{len(view.planned) or '?'}"),
                verdicts(view.counts()),
                Text(plain(view.reason if job.over else now), overflow="ellipsis", no_wrap=True),
            )
            if not job.over:
                for line in console_lines(job.folder, 1):
                    said = Text(line, style="dim", overflow="ellipsis", no_wrap=True)
                    table.add_row("", "", "", "", said)
        return table


class PlainProgress:
    """One line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        """Write to a console that is no terminal."""
        self._lines = _Lines(lambda text: console.print(text, soft_wrap=True))

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clear up."""

    def update(self, jobs: Sequence[Shown]) -> None:
        """Tell what is new."""
        self._lines.states(jobs)
        self._lines.failures(jobs)

    def say(self, text: str) -> None:
        """Tell one line."""
        self._lines.print(Text(plain(text)))


class _Lines:
    """Remembers what was told, and tells what is new."""

    def __init__(self, show: Callable[[Text], None]) -> None:
        self.print = show

    def states(self, jobs: Sequence[Shown]) -> None:
        for job in jobs:
            view = job.view
            state = "done" if job.over else view.state
            if job.state_told == state:
                continue
            job.state_told = state
            words = view.detail
            if state == "ready":
                words = f"after {view.boot_s:.1f} s, kernel {view.kernel}"
            elif state == "running":
                words = f"{len(view.planned)} tests"
            elif job.over:
                words = view.reason or f"{view.done}/{len(view.planned)} tests"
            self.print(Text(plain(f"{view.board}: {state} {words}".rstrip())))

    def failures(self, jobs: Sequence[Shown]) -> None:
        for job in jobs:
            findings = job.view.told
            for finding in findings[job.findings_told :]:
                if finding.verdict in LOUD:
                    line = Text(f"{finding.verdict:5} ", style=STYLES[finding.verdict])
                    line.append(plain(f"{job.view.board}: {finding.nodeid}: {finding.reason}"), "")
                    self.print(line)
            job.findings_told = len(findings)


def progress(console: Console) -> LiveProgress | PlainProgress:
    """Return what suits the console: a terminal that cannot move its cursor gets plain lines."""
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveProgress(console) if live else PlainProgress(console)


def console_lines(folder: Path, count: int) -> list[str]:
    """Return the last lines of a job's console as one can show them, without their times."""
    return [plain(_STAMP.sub("", line)) for line in last_lines(folder / CONSOLE, count)]


def verdicts(counts: Mapping[Verdict, int]) -> Text:
    """Return how many tests ended with each verdict, in words."""
    text = Text()
    for verdict, number in counts.items():
        text.append(f"{number} {verdict} ", style=STYLES[verdict])
    return text


def plain(text: str) -> str:
    """Return the first line of a text, with nothing in it that drives a terminal."""
    line = text.partition("\n")[0]
    return "".join(char if char.isprintable() else " " for char in line)[:400]
