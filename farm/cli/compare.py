"""``farm compare``: what differs from one run to another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.output import JsonFlag, add_row, err, out, print_json, table
from farm.cli.results import STYLES, DbOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from farm.analysis.compare import Comparison, Difference, Noisy

app = typer.Typer()

SHOWN = 30
"""Numbers of one kind that are listed; --json has all of them."""
SHOWN_TESTS = 10
"""Tests of only one run that are listed."""


@app.command()
def compare(
    before: Annotated[
        str, typer.Argument(metavar="RUN", help="The earlier run: an id, or the start of one.")
    ],
    after: Annotated[
        str, typer.Argument(metavar="RUN", help="The later run: an id, or `last`.")
    ] = "last",
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what differs between two runs.

    Numbers of exact boards, and counts, that differ are facts. Other numbers vary by themselves: a
    shift is claimed only where the values of several runs bear it out. Exits 1 with a new failure
    or a number that got worse, else 3 if something is no longer known, else 0.
    """
    from farm.analysis.compare import compare as compared
    from farm.analysis.compare import series_of
    from farm.counters.registry import registry
    from farm.report.comparison import SCHEMA, comparison
    from farm.store import history, load_run, open_store, resolve_run

    with open_store(db, make=False) as store:
        one = load_run(store, resolve_run(store, before))
        other = load_run(store, resolve_run(store, after))
        points = history(store, series_of(one, other), until=other)
    ways = {name: counter.metric.better for name, counter in registry().items()}
    found = compared(one, other, points, ways)
    if as_json:
        print_json(comparison(found), schema=SCHEMA)
    else:
        _show(found)
    raise typer.Exit(found.exit)


def _show(found: Comparison) -> None:
    console = out()
    if found.identity:
        listing = table("board type", "what", "before", "after", title="not alike")
        for one in found.identity:
            add_row(listing, [one.board_type, one.what, one.before or "-", one.after or "-"])
        console.print(listing)
    if found.verdicts:
        listing = table("board type", "test", "", "before", "after", "reason", title="verdicts")
        for change in found.verdicts:
            add_row(
                listing,
                [
                    change.where.board_type,
                    change.where.nodeid,
                    change.kind.value.replace("_", " "),
                    change.before.value,
                    change.after.value,
                    change.reason,
                ],
                styles={4: STYLES[change.after]},
            )
        console.print(listing)
    for text, only in (("before", found.only_before), ("after", found.only_after)):
        if only:
            console.print(f"{len(only)} tests only in the run {text}:")
            for where in only[:SHOWN_TESTS]:
                console.print(f"  {where.board_type} {where.nodeid}", markup=False)
            _rest(len(only), SHOWN_TESTS)
    _show_facts(found.differences)
    _show_noisy(found.noisy)
    err().print(
        f"{found.equal} exact numbers and counts are equal; of the noisy numbers {found.still} did "
        f"not move and {found.untold} have too few values to tell (n=1 tells nothing)"
    )


def _show_facts(differences: Sequence[Difference]) -> None:
    if not differences:
        return
    tests = Counter((one.where.board_type, one.where.nodeid) for one in differences)
    title = f"{len(differences)} numbers differ for a fact, in {len(tests)} tests"
    listing = table("board type", "test", "metric", "before", "after", "", title=title)
    for one in differences[:SHOWN]:
        old, new = _value(one.before), _value(one.after)
        cells = [one.where.board_type, one.where.nodeid, _name(one.metric, one.params), old, new]
        add_row(listing, [*cells, "worse" if one.worse else ""], styles={5: "red"})
    out().print(listing)
    _rest(len(differences))


def _show_noisy(noisy: Sequence[Noisy]) -> None:
    if not noisy:
        return
    columns = ("board type", "test", "metric", "before", "after", "shift", "")
    listing = table(*columns, title=f"{len(noisy)} noisy numbers moved")
    for one in noisy[:SHOWN]:
        assert one.shift is not None
        sides = [
            f"{side.median:g} ±{side.spread:g} (n={len(side.values)})"
            for side in (one.before, one.after)
        ]
        moved = f"{one.shift.by:+g} ({one.shift.low:+g} … {one.shift.high:+g})"
        name = _name(one.metric, one.params)
        cells = [one.where.board_type, one.where.nodeid, name, *sides, moved]
        add_row(listing, [*cells, "worse" if one.worse else ""], styles={6: "red"})
    out().print(listing)
    _rest(len(noisy))


def _name(metric: str, params: Mapping[str, str]) -> str:
    return " ".join([metric, *(f"{key}={value}" for key, value in sorted(params.items()))])


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.15g}"


def _rest(count: int, shown: int = SHOWN) -> None:
    if count > shown:
        err().print(f"… and {count - shown} more (--json has all of them)")
