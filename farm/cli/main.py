"""Entry point of the ``farm`` command: mounts the commands and turns errors into exit codes.

Exit codes: 0 all is well; 1 a FAIL, XPASS or ERROR; 2 usage or configuration; 3 INFRA, MISS, or
nothing ran; 4 a verification failed or a waiver expired.

Command modules import what they need inside their functions, so that ``farm --help`` stays quick.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

from farm import __version__, failpoints
from farm.cli import settings
from farm.cli.output import report_error
from farm.errors import FarmError, InfraError

HELP = """Test farm for Linux buffer sharing (dma-buf) on ARM boards.

Takes boards through labgrid from power-off, runs the test suites on them, counts what the kernel
did, and writes a report. Without a board, it brings up virtual ones.

First steps:

  farm doctor            what this machine still lacks

  farm run               run every suite on two virtual boards

  farm show last         what came out, case by case
"""

app = typer.Typer(
    name="farm",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

GROUPS = {
    "lab": "farm.cli.lab",
    "image": "farm.cli.image",
    "board": "farm.cli.board",
    "expectations": "farm.cli.expectations",
}
"""Command groups by name; the module's ``app`` is mounted under that name."""

TOP_LEVEL = (
    "farm.cli.run",
    "farm.cli.resume",
    "farm.cli.nightly",
    "farm.cli.boards",
    "farm.cli.watch",
    "farm.cli.logs",
    "farm.cli.console",
    "farm.cli.doctor",
    "farm.cli.results",
    "farm.cli.requirements",
    "farm.cli.compare",
    "farm.cli.payload",
    "farm.cli.gc",
)
"""Modules whose ``app`` holds top-level commands, in the order of the help page."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"farm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version
    if (path := settings.find()) is not None:
        ctx.default_map = _defaults(ctx.command, settings.load(path))


def _defaults(command: Any, values: dict[str, str | float]) -> dict[str, Any]:
    """Return a command's defaults: each setting for whichever option bears its name."""
    found: dict[str, Any] = {
        parameter.name: values[parameter.name]
        for parameter in command.params
        if parameter.name in values
    }
    for name, below in getattr(command, "commands", {}).items():
        found[name] = _defaults(below, values)
    return found


def _mount() -> None:
    for module in TOP_LEVEL:
        if importlib.util.find_spec(module):
            app.add_typer(importlib.import_module(module).app)
    for name, module in GROUPS.items():
        if importlib.util.find_spec(module):
            app.add_typer(importlib.import_module(module).app, name=name)


_mount()


def _end_in_order() -> None:
    """Have SIGTERM and SIGHUP end us as an error does: what is half-made goes, children end."""

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else nohup has it ignored
            signal.signal(number, end)


def main() -> None:
    """Run the command line; the one place where an error becomes an exit code."""
    _end_in_order()
    try:
        failpoints.check()
        app()
    except FarmError as error:
        sys.exit(report_error(error))
    except OSError as error:
        if not error.filename:
            raise  # nothing that a reader could mend
        sys.exit(report_error(InfraError(f"{error.filename}: {error.strerror}")))
