"""``farm expectations``: what pairs of drivers are expected to do, and accepting what is new."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.output import JsonFlag, add_row, err, out, print_json, printable, table
from farm.cli.results import DbOption, RunArgument, load_record
from farm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from farm.pytest_plugin.acceptance import Acceptance, Observation
    from farm.pytest_plugin.expectations import Import
    from farm.store.records import RunRecord

app = typer.Typer(
    no_args_is_help=True,
    help="What importing a buffer is expected to do, by drivers and kernel (testsuites/"
    "expectations.yaml).",
)

ExporterOption = Annotated[
    str, typer.Option("--exporter", metavar="DRIVER", help="Only this exporter's driver, or `own`.")
]
ImporterOption = Annotated[
    str, typer.Option("--importer", metavar="DRIVER", help="Only this importer's driver.")
]


@app.command("list")
def list_rows(
    exporter: ExporterOption = "",
    importer: ImporterOption = "",
    as_json: JsonFlag = False,
) -> None:
    """List the expectations in their order: of a pair, the first row that fits counts.

    Below them what else drivers do on some kernels only, and tests ask for by name.
    """
    from farm.pytest_plugin.expectations import load_expectations

    found = load_expectations()
    rows = [
        row
        for row in found.imports
        if exporter in ("", row.exporter) and importer in ("", row.importer)
    ]
    asked = {exporter, importer} - {""}
    behaviours = [row for row in found.behaviours if not asked or row.driver in asked]
    if as_json:
        print_json(
            {
                "file": str(found.path),
                "expectations": [_as_object(row) for row in rows],
                "behaviours": [{**asdict(row), "kernel": str(row.kernel)} for row in behaviours],
            }
        )
        return
    columns = ("line", "exporter", "importer", "kernel", "board", "expected", "reason")
    listing = table(*columns, title=str(found.path))
    for row in rows:
        access = "" if row.access.value == "*" else f" ({row.access.value})"
        cells = (row.line, row.exporter, row.importer + access, row.kernel, row.board)
        add_row(listing, (*cells, row, row.reason))
    out().print(listing)
    if behaviours:
        listing = table("line", "driver", "kernel", "behaviour", "reason")
        for one in behaviours:
            add_row(listing, (one.line, one.driver, one.kernel, one.name, one.reason))
        out().print(listing)


@app.command()
def accept(
    run: RunArgument,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why the kernel does that, with the place in its source. Stands in every new row.",
            show_default=False,
        ),
    ] = "",
    kernel: Annotated[
        str,
        typer.Option(
            "--kernel",
            metavar="RANGE",
            help="Kernels that the rows hold for, such as '>=6.16,<7.2' or '>=7.2'. Default: the "
            "release that was seen, with its stable updates.",
            show_default=False,
        ),
    ] = "",
    exporter: ExporterOption = "",
    importer: ImporterOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")
    ] = False,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Accept what a run saw as NEW: add a row for each pair, with the reason that you give.

    Prints what it changes as a diff. Doing it twice changes nothing. One reason stands for all rows
    of one call: narrow them with --exporter and --importer.

    Exits 1 if a pair of the run by now has a row that says otherwise, 2 without a reason, else 0.

    Examples:

      farm expectations accept last --importer cirrus --reason "…" --dry-run

      farm expectations accept last --importer cirrus --kernel ">=6.16,<7.2" --reason "…"
    """
    from farm.pytest_plugin.acceptance import accept as accepted
    from farm.pytest_plugin.expectations import default_path

    record = load_record(run, db)
    chosen = [
        one
        for one in _observations(record)
        if exporter in ("", one.exporter) and importer in ("", one.importer)
    ]
    if not reason:
        _refuse_without_reason(record, chosen)
    path = default_path()
    found = accepted(path, chosen, reason, kernel)
    if found.added and not dry_run:
        _write(path, found.after)
    if as_json:
        print_json(_told(record, path, found, written=bool(found.added) and not dry_run))
    else:
        sys.stdout.write(printable(_diff(path, found)))
        _summarise(record, path, found, dry_run=dry_run)
    for one, row in found.contrary:
        err().print(f"{path}:{row.line}: expects {row}; seen {one}", soft_wrap=True, style="red")
    raise typer.Exit(1 if found.contrary else 0)


def _observations(record: RunRecord) -> list[Observation]:
    from farm.pytest_plugin.acceptance import Observation

    return [
        Observation.parse(test.observed)
        for job in record.jobs
        for test in job.final_tests
        if test.observed
    ]


def _refuse_without_reason(record: RunRecord, chosen: list[Observation]) -> None:
    if not chosen:
        raise UsageError(
            f"run {record.id} saw nothing new of that kind",
            next_step=f"`farm show {record.id}` lists what is NEW",
        )
    for one in sorted(set(chosen)):
        err().print(f"NEW  {printable(str(one))}", soft_wrap=True)
    raise UsageError(
        f"{len(set(chosen))} pairs of drivers are new, and no --reason was given",
        next_step="find out why the kernel does that, and say so: --reason '… (drivers/…)'",
    )


def _write(path: Path, text: str) -> None:
    """Put the text in the file's place, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(path.stat().st_mode & 0o777)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _diff(path: Path, found: Acceptance) -> str:
    lines = difflib.unified_diff(
        found.before.splitlines(keepends=True),
        found.after.splitlines(keepends=True),
        f"a/{path.name}",
        f"b/{path.name}",
    )
    return "".join(lines)


def _summarise(record: RunRecord, path: Path, found: Acceptance, *, dry_run: bool) -> None:
    if found.added:
        wrote = "would be added to" if dry_run else "added to"
        err().print(f"{len(found.added)} rows {wrote} {path}", soft_wrap=True)
        if not dry_run:
            err().print(f"run them again: farm run --failed {printable(record.id)}")
    if found.known:
        err().print(f"{len(found.known)} pairs have a row that says so already")
    if not found.added and not found.known and not found.contrary:
        err().print(f"run {printable(record.id)} saw nothing new of that kind")


def _told(record: RunRecord, path: Path, found: Acceptance, *, written: bool) -> dict[str, Any]:
    return {
        "run": record.id,
        "file": str(path),
        "written": written,
        "added": _objects(found.added),
        "known": _objects(found.known),
        "contrary": _objects(one for one, _ in found.contrary),
        "diff": _diff(path, found),
    }


def _objects(observations: Iterable[Observation]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [asdict(one) for one in observations]


def _as_object(row: Import) -> dict[str, Any]:
    return {
        "line": row.line,
        "exporter": row.exporter,
        "importer": row.importer,
        "access": row.access.value,
        "kernel": str(row.kernel),
        "board": row.board,
        "outcome": row.outcome.value,
        "errno": row.errno,
        "attaches": row.attaches,
        "unmapped_errno": row.unmapped_errno,
        "maps": row.maps,
        "reason": row.reason,
    }
