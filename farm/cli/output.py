"""What every command prints and how: tables for people, one JSON object for programs.

stdout carries the result, stderr everything else (progress, hints, errors). With ``--json`` stdout
holds exactly one JSON object with ``schema``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm.errors import FarmError

SCHEMA = 1
"""Version of every JSON object that the command line prints, unless it has one of its own."""

PLAIN_WIDTH = 160
"""Columns of output that does not go to a terminal."""

JsonFlag = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on stdout and nothing else there."),
]
"""The ``--json`` option; every command takes it."""


def out() -> Console:
    """Return the console for results."""
    return _console(stderr=False)


def err() -> Console:
    """Return the console for progress, hints and errors."""
    return _console(stderr=True)


def print_json(body: Mapping[str, Any], *, schema: int = SCHEMA) -> None:
    """Print the one object of a ``--json`` command; ``schema`` comes first."""
    sys.stdout.write(json.dumps({"schema": schema, **body}, indent=2, default=str) + "\n")
    sys.stdout.flush()


def table(*columns: str, title: str = "") -> Table:
    """Return an empty table with these column heads."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        made.add_column(name, header_style="bold", overflow="fold")
    return made


def add_row(
    target: Table, cells: Iterable[object], *, styles: Mapping[int, str] | None = None
) -> None:
    """Add a row of plain text: markup and control characters in a cell are shown, not obeyed."""
    chosen = styles or {}
    target.add_row(
        *(
            Text(printable(str(cell)), style=chosen.get(index, ""))
            for index, cell in enumerate(cells)
        )
    )


def printable(text: str) -> str:
    """Return the text with control characters escaped, so that a board cannot drive a terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def error_text(error: FarmError) -> str:
    """Return how an error is told: the sentence, and the next step on a line of its own."""
    lines = [f"error: {printable(error.message)}"]
    if error.next_step:
        lines.append(f" next: {printable(error.next_step)}")
    return "\n".join(lines)


def report_error(error: FarmError) -> int:
    """Tell an error on stderr and return the command's exit code."""
    print(error_text(error), file=sys.stderr)
    return error.exit_code


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    plain = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(
        stderr=stderr,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        width=PLAIN_WIDTH if plain else None,
    )
