"""``farm gc``: keep the caches in bounds."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli.output import JsonFlag, add_row, out, print_json, table
from farm.cli.progress import steps

app = typer.Typer()


@app.command()
def gc(
    limit: Annotated[
        str,
        typer.Option(
            "--limit",
            metavar="SIZE",
            envvar="FARM_CACHE_LIMIT",
            help="What the caches may hold: 20G, 500M; 0 empties them.",
        ),
    ] = "20G",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would go; remove nothing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Drop what was used least until images, kernels and packages fit into the limit.

    Images and firmware that boards of a running virtual lab boot stay. Building an image and
    bringing up boards keep the same limit (FARM_CACHE_LIMIT). Everything in the caches can be made
    again.
    """
    from farm.image import housekeeping
    from farm.lab import virtual

    allowed = housekeeping.parse_size(limit, "--limit")
    in_use = virtual.images_in_use()
    with steps() as tell:
        gone = housekeeping.collect(allowed, keep=in_use, dry_run=dry_run, progress=tell)
    dropped = {entry.path for entry in gone}
    left = sum(entry.size for entry in housekeeping.entries() if entry.path not in dropped)
    if as_json:
        rows = [{"kind": e.kind, "name": e.name, "size": e.size} for e in gone]
        print_json({"removed": rows, "left": left, "limit": allowed, "dry_run": dry_run})
        return
    if gone:
        listing = table("kind", "name", "MB")
        for entry in gone:
            add_row(listing, (entry.kind, entry.name, f"{entry.size / 1e6:.1f}"))
        out().print(listing)
    word = "would go" if dry_run else "went"
    freed = sum(entry.size for entry in gone) / 1e6
    out().print(f"{len(gone)} {word} ({freed:.0f} MB); {left / 1e6:.0f} MB stay")
