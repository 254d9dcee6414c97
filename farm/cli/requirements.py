"""``farm requirements``: what is required, which tests are evidence for it, how they came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from farm.cli.labs import CoordinatorOption, chosen_lab
from farm.cli.output import JsonFlag, add_row, err, out, print_json, printable, table
from farm.cli.results import STYLES, DbOption
from farm.errors import LabError, UsageError

if TYPE_CHECKING:
    from farm.inventory import BoardType
    from farm.model import Verdict
    from farm.pytest_plugin.catalogue import Listed
    from farm.requirements import Requirement
    from farm.store import BoardVerdicts

app = typer.Typer()

NO_TEST = "no test"
NO_BOARD = "no board here can"


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement with its tests, the images that can test it by board type, and verdicts."""

    requirement: Requirement
    tests: tuple[str, ...]
    boards: Mapping[str, tuple[str, ...]]
    verdicts: Sequence[BoardVerdicts]

    @property
    def gap(self) -> str:
        """Why nobody can say whether it holds, as far as that is known without running anything."""
        if not self.tests:
            return NO_TEST
        return "" if self.boards else NO_BOARD

    def skipped(self, board_type: str) -> tuple[str, ...]:
        """Return the images with which all its tests were SKIP there when it was last run.

        That a board declares all devices of a test says nothing of its kernel.
        """
        from farm.model import Verdict, worst

        told = {
            one.image
            for one in self.verdicts
            if one.board_type == board_type and worst(one.verdicts) is Verdict.SKIP
        }
        return tuple(image for image in self.boards.get(board_type, ()) if image in told)


@app.command()
def requirements(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID", help="Only these requirements, told in full.", show_default=False
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            "-s",
            metavar="SUITE",
            help="Only those of this suite. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    gaps: Annotated[
        bool,
        typer.Option("--gaps", help="Only those without a test, or without a board for it here."),
    ] = False,
    run: Annotated[
        str,
        typer.Option(
            "--run",
            metavar="RUN",
            help="The verdicts of this run (`last` is the newest). Default: of each board's newest "
            "run that tested it.",
            show_default=False,
        ),
    ] = "",
    coordinator: CoordinatorOption = None,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the requirements: sentence, tests, last verdict by board, and what has no board here.

    A board is here if it is virtual, or in the lab at hand. It can test a requirement with an image
    where some test of it has all the devices that it runs over; whether its kernel does what the
    test is about shows when it runs.

    Examples:

      farm requirements                  all of them, a line each

      farm requirements MAP-10           one in full: source, tests, boards, verdicts

      farm requirements --suite sync --run last

      farm requirements --gaps           what nobody tests yet
    """  # fmt: skip
    from farm.pytest_plugin.catalogue import collect
    from farm.requirements import check_known, load_requirements
    from farm.store import last_verdicts, open_store, resolve_run
    from farm.suites import load_suites
    from farm.yamlfile import nearest

    known = load_requirements()
    check_known(ids or (), known)
    suites = {one.suite for one in known.values()}
    for name in suite or ():
        if name not in suites:
            raise UsageError(
                f"no suite {name!r}{nearest(name, suites)}",
                next_step=f"choose from: {', '.join(sorted(suites))}",
            )
    with open_store(db, make=False) as store:
        chosen = resolve_run(store, run) if run else ""
        verdicts = last_verdicts(store, chosen)
    tests = _by_requirement(collect(list(load_suites())))
    able = _able(tests, _types_here(coordinator))
    rows = [
        Row(
            one,
            tuple(dict.fromkeys(test.function for test in tests.get(one.id, ()))),
            able.get(one.id, {}),
            verdicts.get(one.id, ()),
        )
        for one in known.values()
        if (not ids or one.id in ids) and (not suite or one.suite in suite)
    ]
    rows = [row for row in rows if row.gap or not gaps]
    if as_json:
        print_json({"run": chosen, "requirements": [_as_object(row) for row in rows]})
    elif ids:
        for row in rows:
            _print_full(row)
    else:
        _print_table(rows)


def _by_requirement(listed: Iterable[Listed]) -> dict[str, list[Listed]]:
    found: dict[str, list[Listed]] = {}
    for test in listed:
        for name in test.requirements:
            found.setdefault(name, []).append(test)
    return found


def _types_here(coordinator: str | None) -> list[BoardType]:
    """Return the board types that can be had: the virtual ones, and those of the lab's boards."""
    from farm.inventory import load_board_types

    types = load_board_types()
    here = {name for name, one in types.items() if one.virtual}
    try:
        here |= _types_of_lab(chosen_lab(coordinator))
    except LabError as error:
        err().print(f"{printable(error.message)}; only virtual boards are taken into account")
    return [one for name, one in types.items() if name in here]


def _types_of_lab(address: str) -> set[str]:
    if not address:
        return set()
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity
    from farm.lab.wanted import TYPE_TAG

    with Coordinator(address, new_identity(local_host())) as lab:
        return {place.tags.get(TYPE_TAG, "") for place in lab.places().values()}


def _able(
    tests: Mapping[str, Sequence[Listed]], types: Sequence[BoardType]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return by requirement which board types can test it, each with its images that can.

    A board's own image comes first; a board of hardware has no other.
    """
    from farm.inventory import devices, load_image_profiles

    profiles = load_image_profiles()
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for one in types:
        bootable = [name for name in sorted(profiles) if not profiles[name].installed]
        others = [name for name in bootable if name != one.image] if one.virtual else []
        for image in [one.image, *others]:
            if image not in profiles:
                continue
            declared = devices(one, profiles[image])
            smp = {"smp"} if one.virtual is None or one.virtual.smp > 1 else set()
            has = one.features | profiles[image].features | smp
            for name, listed in tests.items():
                if any(test.runs_on(declared, has) for test in listed):
                    able = found.setdefault(name, {})
                    able[one.name] = (*able.get(one.name, ()), image)
    return found


def _print_table(rows: Sequence[Row]) -> None:
    listing = table("id", "requirement", "tests", "last verdicts")
    for row in rows:
        told = Text(row.gap, style="yellow") if row.gap else _verdicts(row)
        listing.add_row(row.requirement.id, row.requirement.text, str(len(row.tests)), told)
    out().print(listing)
    for gap in (NO_TEST, NO_BOARD):
        if names := [row.requirement.id for row in rows if row.gap == gap]:
            err().print(f"{gap}: {' '.join(names)}", soft_wrap=True)


def _verdicts(row: Row) -> Text:
    """Return the boards by what the requirement's tests amount to there, worst first."""
    from farm.model import WORST_FIRST, worst

    boards: dict[Verdict, list[str]] = {}
    for one in row.verdicts:
        amounts = worst(one.verdicts)
        if amounts is not None:
            boards.setdefault(amounts, []).append(one.board)
    text = Text()
    for verdict in WORST_FIRST:
        if names := boards.get(verdict):
            text.append(f"{verdict.value} ", style=STYLES[verdict])
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            text.append(printable(" ".join(names[:4]) + more + "  "))
    return text or Text("never ran", style="dim")


def _print_full(row: Row) -> None:
    from farm.model import Verdict, worst

    console = out()
    one = row.requirement
    console.print(Text(f"{one.id} ({one.suite}): {one.text}", style="bold"), soft_wrap=True)
    console.print(f"argued in: {one.source}", soft_wrap=True)
    for test in row.tests:
        console.print(f"test: {test}", soft_wrap=True)
    for name, images in row.boards.items():
        skipped = row.skipped(name)
        able = ", ".join(image for image in images if image not in skipped)
        if able:
            console.print(f"has devices for it: {name} with {able}", soft_wrap=True)
        if skipped:
            words = f"all SKIP when last run: {name} with {', '.join(skipped)}"
            console.print(Text(words, style=STYLES[Verdict.SKIP]), soft_wrap=True)
    if row.gap:
        console.print(Text(row.gap, style="yellow"))
    if row.verdicts:
        listing = table("verdict", "board", "kernel", "run", "tests")
        for told in row.verdicts:
            verdict = worst(told.verdicts)
            assert verdict is not None, "there are tests"
            counted = ", ".join(f"{number} {name}" for name, number in told.verdicts.items())
            cells = (verdict.value, told.board, told.kernel or "never came up", told.run, counted)
            add_row(listing, cells, styles={0: STYLES[verdict]})
        console.print(listing)
    console.print()


def _as_object(row: Row) -> dict[str, Any]:
    from farm.model import worst

    return {
        "id": row.requirement.id,
        "suite": row.requirement.suite,
        "text": row.requirement.text,
        "source": row.requirement.source,
        "tests": list(row.tests),
        "board_types": [
            {"board_type": name, "images": list(images), "skipped": list(row.skipped(name))}
            for name, images in row.boards.items()
        ],
        "verdicts": [
            {
                "board": one.board,
                "board_type": one.board_type,
                "run": one.run,
                "image": one.image,
                "kernel": one.kernel,
                "verdict": worst(one.verdicts),
                "counts": {name.value: number for name, number in one.verdicts.items()},
            }
            for one in row.verdicts
        ],
    }
