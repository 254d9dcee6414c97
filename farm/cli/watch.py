"""``farm watch``: what boards and jobs do, as it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.labs import CoordinatorOption, chosen_lab
from farm.cli.output import JsonFlag, err, out, print_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from farm.run.watch import Row, Seen, Watcher

app = typer.Typer()

LOOK_S = 0.5
"""How often boards are looked at."""

STYLES = {"free": "green", "held": "yellow", "reserved": "yellow", "quarantined": "red"}


@app.command()
def watch(
    once: Annotated[
        bool, typer.Option("--once", help="Print how things are now, and end.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option(
            "--lines", "-n", min=0, max=50, metavar="N", help="Last console lines of each job."
        ),
    ] = 3,
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Watch boards and jobs: states, verdicts, and what the consoles say last.

    Shows the boards of the lab (--coordinator or LG_COORDINATOR, else the virtual lab of
    `farm lab up`) and every job of this controller, also in labs that a run brought up for itself.
    It changes nothing, and may be started and ended at any time. On a terminal it is a live table,
    elsewhere one line for each thing that happens. Ctrl-C ends it. --json is --once as JSON.

    Examples:

      farm watch

      farm watch --once

      farm watch > night.log &
    """
    from farm.run.watch import Watcher

    watcher = Watcher(chosen_lab(coordinator), only_lab=bool(coordinator))
    with contextlib.closing(watcher):
        if as_json:
            print_json(as_object(watcher.look(), lines))
        elif once:
            _print_once(watcher.look(), lines)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _go_on(watcher, lines)


def as_object(seen: Seen, lines: int) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    from farm.run.progress import console_lines

    found = []
    for row in seen.rows:
        job = row.job
        said = console_lines(job.folder, lines) if job and row.running else []
        found.append(
            {
                "board": row.board,
                "board_type": row.board_type,
                "state": row.state,
                "note": row.note,
                "holder": row.holder,
                "running": row.running,
                "job": _job(row) if job else None,
                "console": said,
            }
        )
    return {"trouble": seen.trouble, "boards": found}


def _job(row: Row) -> dict[str, Any]:
    assert row.job is not None
    entry, view = row.job.entry, row.job.view
    return {
        "run": entry.run,
        "job": entry.job,
        "folder": str(entry.folder),
        "coordinator": entry.coordinator,
        "began": entry.began,
        "planned": len(view.planned),
        "done": view.done,
        "verdicts": {verdict.value: number for verdict, number in sorted(view.counts().items())},
        "current": view.current,
        "kernel": view.kernel,
        "reason": view.reason,
    }


def _print_once(seen: Seen, lines: int) -> None:
    if seen.trouble:
        err().print(f"the lab is not to be seen: {seen.trouble}", soft_wrap=True)
    if seen.rows:
        out().print(picture(seen, lines, time.time()))
    else:
        err().print("no lab is up and no job runs; start one with: farm run, or farm lab up")


def _go_on(watcher: Watcher, lines: int) -> None:
    from rich.live import Live

    console = out()
    if not console.is_terminal or console.is_dumb_terminal:
        for line in told(watcher, console):
            console.print(line, soft_wrap=True)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            seen = watcher.look()
            live.update(picture(seen, lines, time.time()), refresh=True)
            time.sleep(LOOK_S)


def told(
    watcher: Watcher, console: Console, *, pause: Callable[[], None] = lambda: time.sleep(LOOK_S)
) -> Iterator[str]:
    """Yield a line for each board that changes hands; what jobs do is printed in between."""
    from farm.run.progress import PlainProgress, plain

    progress = PlainProgress(console)
    before: dict[str, str] = {}
    trouble = ""
    while True:
        seen = watcher.look()
        if seen.trouble != trouble:
            trouble = seen.trouble
            yield plain(f"the lab is {'not to be seen: ' + trouble if trouble else 'back'}")
        for row in seen.rows:
            if row.running and row.job is not None:
                words = f"run {row.job.entry.run}, console in {row.job.folder}"
            else:
                words = f"{row.state} {row.note}".rstrip()
            if before.get(row.board) != words:
                before[row.board] = words
                yield plain(f"{row.board}: {words}")
        progress.update([row.job for row in seen.rows if row.job is not None])
        pause()


def picture(seen: Seen, lines: int, now: float) -> RenderableType:
    """Return the boards as a table; below it, what runs on them now and the last console lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from farm.run.progress import console_lines, plain, verdicts

    def cut(text: str, style: str = "") -> Text:
        return Text(plain(text), style, overflow="ellipsis", no_wrap=True)

    table = Table(box=None, pad_edge=False)
    for head in ("board", "state", "cases", "verdicts", "for", "run"):
        table.add_column(head, header_style="bold", no_wrap=head not in ("verdicts", "run"))
    below = Table(box=None, pad_edge=False, show_header=False)
    below.add_column(no_wrap=True, style="bold")
    below.add_column()
    for row in seen.rows:
        cells = [Text(plain(row.board), "bold"), Text(row.state, STYLES.get(row.state, ""))]
        if row.job is None:
            table.add_row(*cells, "", "", "", cut(row.note))
            continue
        entry, view = row.job.entry, row.job.view
        began = _span(now - entry.began)
        table.add_row(
            *cells,
            f"{view.done}/{len(view.planned)}" if view.planned else "",
            verdicts(view.counts()),
            began if row.running else f"{began} ago",
            cut(entry.run if row.running else row.note or view.reason or entry.run),
        )
        if row.running:
            said = console_lines(row.job.folder, lines)
            below.add_row(plain(row.board), cut(view.current or view.detail or view.state))
            for line in said:
                below.add_row("", cut(line, "dim"))
    parts: list[RenderableType] = [table]
    if seen.trouble:
        parts.insert(0, Text(plain(f"the lab is not to be seen: {seen.trouble}"), "red"))
    if below.row_count:
        parts += ["", below]
    return Group(*parts)


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
