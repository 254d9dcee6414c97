"""``farm payload``: where the program is that runs the cases, for running one by hand."""

from __future__ import annotations

import typer

from farm.cli.output import JsonFlag, print_json

app = typer.Typer()


@app.command()
def payload(as_json: JsonFlag = False) -> None:
    """Build the payload where that is needed, and print its path.

    It is one static arm64 program with every case in it, for any board with Linux: copy it there
    and run `payload --list`, `payload run CASE key=value`. docs/suites.md shows how.

    Example:

      farm payload
    """
    from farm.board import payload as program

    built = program.build()
    if as_json:
        cases = [{"suite": one.suite, "case": one.name} for one in built.cases]
        print_json({"payload": str(built.path), "sha256": built.sha256, "cases": cases})
    else:
        typer.echo(built.path)
