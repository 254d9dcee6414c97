"""Runs the benchmarks, prints their ratios, and keeps everything as JSON in the data folder."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from rich.table import Table

from benchmarks import results
from benchmarks.isolation import in_a_process, say
from benchmarks.results import Part
from farm import paths
from farm.cli.output import add_row, error_text, out, table
from farm.errors import FarmError

BENCHMARKS = ("roundtrip", "localssh", "push", "turnaround", "fleet", "places")
"""Modules of this package, in the order in which they run."""

MISSED = 1


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for; return 1 where a ratio is not as wanted, 3 where something failed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    known = ", ".join(BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {known}; default: all")
    parser.add_argument("--quick", action="store_true", help="few repetitions: does it work at all")
    chosen = parser.parse_args(argv)
    unknown = set(chosen.names) - set(BENCHMARKS)
    if unknown:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    began = datetime.now(UTC).isoformat(timespec="seconds")
    where = results.machine()
    parts: list[Part] = []
    failed = False
    for name in [name for name in BENCHMARKS if name in chosen.names or not chosen.names]:
        say(f"{name} …")
        try:
            parts.append(in_a_process(name, quick=chosen.quick))
        except FarmError as error:
            failed = True
            print(error_text(error), file=sys.stderr)
    body = results.as_object(parts, quick=chosen.quick, began=began, where=where)
    path = results.save(body, paths.data_dir() / "benchmarks")
    _print(parts)
    print(path)
    if failed:
        return 3
    return MISSED if any(not ratio.met for part in parts for ratio in part.ratios) else 0


def _print(parts: list[Part]) -> None:
    figures = table("benchmark", "figure", "median", "p99", "of")
    ratios = table("benchmark", "ratio", "is", "wanted", "")
    for part in parts:
        for figure in part.figures:
            p99 = "" if figure.p99 is None else _number(figure.p99, figure.unit)
            cells = (part.name, figure.name, _number(figure.value, figure.unit), p99, figure.values)
            add_row(figures, cells)
        for ratio in part.ratios:
            word = ("ok" if ratio.met else "missed") if ratio.wanted else ""
            row = (part.name, ratio.name, f"{ratio.value:.2f}", ratio.wanted, word)
            add_row(ratios, row, styles={4: "green" if ratio.met else "bold red"})
    _show(figures)
    _show(ratios)
    for part in parts:
        for note in part.notes:
            out().print(f"{part.name}: {note}", soft_wrap=True)


def _show(listing: Table) -> None:
    if listing.row_count:
        out().print(listing)
        out().print()


def _number(value: float, unit: str) -> str:
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
