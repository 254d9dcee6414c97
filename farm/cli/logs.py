"""``farm logs``: what a board's console said, or says."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.labs import CoordinatorOption
from farm.cli.output import JsonFlag, print_json, printable
from farm.errors import InfraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from farm.run.joblist import JobEntry

app = typer.Typer()

BoardArgument = Annotated[str, typer.Argument(metavar="BOARD", show_default=False)]

LOOK_S = 0.2
"""How often a console that is followed is looked at."""


@app.command()
def logs(
    board: BoardArgument,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on, through boots and jobs, until Ctrl-C."),
    ] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            min=0,
            metavar="N",
            help="Only the last N. Default: all of the job's.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Of the last health check, instead of a run's job.")
    ] = False,
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a board's console as the running job, or else a run's last one, recorded it.

    Each line begins with when it came (UTC). With LG_COORDINATOR or --coordinator, only jobs in
    that lab count.

    Examples:

      farm logs virt-smmuv3-1 -n 50

      farm logs virt-smmuv3-1 -f
    """  # fmt: skip
    if follow and as_json:
        raise UsageError(
            "--follow has no end and --json is one object", next_step="leave out one of them"
        )
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(lambda: job_on(board, coordinator, check=check), lines)
        return
    entry = job_on(board, coordinator, check=check)
    said = _recorded(entry, lines)
    if as_json:
        rows = [dict(zip(("at", "text"), line.split(" ", 1), strict=False)) for line in said]
        print_json(
            {
                "board": board,
                "run": entry.run,
                "job": entry.job,
                "running": entry.alive(),
                "path": str(_log(entry)),
                "lines": rows,
            }
        )
        return
    for line in said:
        print(printable(line))


def job_on(board: str, coordinator: str | None, *, check: bool) -> JobEntry:
    """Return a board's running job on this controller, else its last one; or its last ``check``.

    Raises:
        UsageError: there was none; names the nearest board that had one.
    """
    from farm.run import joblist
    from farm.yamlfile import nearest

    found = joblist.entries(board, coordinator or "")
    entry = joblist.current([one for one in found if one.is_check] if check else found)
    if entry is None:
        known = sorted({entry.board for entry in joblist.entries(coordinator=coordinator or "")})
        raise UsageError(
            f"no {'check' if check else 'job'} of this controller was on a board {board!r}"
            f"{nearest(board, set(known))}",
            next_step=f"boards that had a job: {', '.join(known) or 'none'}",
        )
    return entry


def _log(entry: JobEntry) -> Path:
    from farm.run.progress import CONSOLE

    return entry.folder / CONSOLE


def _recorded(entry: JobEntry, lines: int | None) -> Iterator[str]:
    """Yield the lines of a job's console.

    Raises:
        InfraError: nothing was recorded.
    """
    try:
        stream = _log(entry).open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        state = "nothing has been recorded yet" if entry.alive() else "nothing was recorded"
        raise InfraError(
            f"job {entry.job} of run {entry.run} on {entry.board}: {state}",
            next_step=f"what else there is lies in {entry.folder}",
        ) from None
    with stream:
        for line in stream if lines is None else deque(stream, lines):
            yield line.rstrip("\n")


def _follow(current: Callable[[], JobEntry], lines: int | None) -> None:
    """Print what the current job's console says, whichever job that comes to be."""
    from farm.run.tail import Tail

    entry = current()
    tail = Tail(_log(entry))
    _tell(entry, "runs" if entry.alive() else "is over; waiting for the next")
    fresh: Iterable[bytes] = deque(tail.lines(), lines)
    while True:
        for line in fresh:
            print(printable(line.decode("utf-8", "replace").rstrip("\n")))
        sys.stdout.flush()
        time.sleep(LOOK_S)
        alive = entry.alive()  # before its last words are read
        fresh = list(tail.lines())
        if alive or fresh or (later := current()) == entry or not later.alive():
            continue
        if later.folder != entry.folder:
            tail = Tail(_log(later))
        entry = later
        _tell(entry, "begins")


def _tell(entry: JobEntry, what: str) -> None:
    said = f"== {entry.board}: run {entry.run}, job {entry.job} {what}; {_log(entry)} =="
    print(printable(said), file=sys.stderr, flush=True)
