"""``farm board``: checking boards, qualifying one, and taking one out of use."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.labs import CoordinatorOption, lab_address
from farm.cli.output import JsonFlag, add_row, err, out, print_json, printable, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from farm.inventory import BoardType
    from farm.lab.place import Place
    from farm.run.checkup import Boot

app = typer.Typer(
    no_args_is_help=True, help="Boards of a lab: check and qualify them, take them out of use."
)

BoardArgument = Annotated[str, typer.Argument(metavar="BOARD", show_default=False)]
FAILED = 3


@app.command()
def check(
    boards: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BOARD", help="Boards to check. Default: all of the lab.", show_default=False
        ),
    ] = None,
    due: Annotated[
        bool,
        typer.Option("--due", help="Only those whose time has come; what a timer calls."),
    ] = False,
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Boot boards and see whether they are well; quarantine those that are not.

    A check is a power cycle, a boot, a login, the payload, and the commands under `farm: health:`
    of the board config. A board that fails is tried again at once, and is quarantined after
    `failures` of them in a row (3); quarantined ones have one try, and are re-admitted if it is
    good. Boards that somebody holds, and offline ones, are left alone.

    Examples:

      farm board check                  every free board

      farm board check --due            from a timer, every hour: who has not been looked at

    Exits 3 if a board failed or could not be looked at.
    """
    from farm.cli.health import check_board

    rows: list[dict[str, Any]] = []
    with _lab(coordinator) as lab:
        for place, board_type in lab.chosen(boards or ()):
            health = lab.book.of(place.name)
            if due and not lab.book.due(place.name, board_type.health):
                continue
            state = lab.state(place)
            if health.quarantined and not health.retry and not boards:
                state = str(health)
            if state != "free":
                rows.append({"board": place.name, "result": "not checked", "reason": state})
                continue
            err().print(f"checking {printable(place.name)}")
            rows.append(check_board(lab.address, place.name, board_type))
    if as_json:
        print_json({"coordinator": lab.address, "boards": rows})
    else:
        listing = table("board", "result", "reason")
        styles = {"well": "green", "failed": "yellow", "quarantined": "red", "not checked": "dim"}
        for row in rows:
            add_row(listing, row.values(), styles={1: styles.get(row["result"], "")})
        out().print(listing if rows else "no board is due")
    if any(row["result"] not in ("well", "re-admitted") for row in rows):
        raise typer.Exit(FAILED)


@app.command()
def qualify(
    board: BoardArgument,
    boots: Annotated[
        int, typer.Option("--boots", min=1, max=100_000, metavar="N", help="How often to boot it.")
    ] = 100,
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Boot a board again and again, and report how long it took and what failed.

    Each boot is a check (see `farm board check`) after a power cycle. Nothing is quarantined or
    re-admitted by it. Ctrl-C ends it in order, and reports on the boots so far.

    Example:

      farm board qualify rock-5b-1 --boots 100

    Exits 3 if a boot failed, or none was done; 0 if all were good.
    """
    from farm.cli.health import check_folder
    from farm.run.checkup import CheckSpec

    with _lab(coordinator) as lab:
        ((place, board_type),) = lab.chosen([board])
        spec = CheckSpec(
            coordinator=lab.address,
            board=place.name,
            config=board_type.config,
            folder=check_folder(place.name),
            boots=boots,
        )
    done: list[Boot] = []
    ended = _collect(spec, done)
    report = _report(spec, done, ended)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    raise typer.Exit(int(report["exit"]))


@app.command()
def quarantine(
    board: BoardArgument,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What others are to read.")
    ],
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take a board out of use until `farm board readmit`.

    Example:

      farm board quarantine rock-5b-1 --reason "on Ann's desk until Friday"
    """
    with _lab(coordinator) as lab:
        place = lab.place(board)
        health = lab.book.quarantine(place.name, reason)
    if as_json:
        print_json({"board": place.name, "health": health.model_dump()})
    else:
        err().print(printable(f"{place.name}: {health}"))


@app.command()
def readmit(
    board: BoardArgument, coordinator: CoordinatorOption = None, as_json: JsonFlag = False
) -> None:
    """Give a quarantined board back to use, whatever happened before."""
    with _lab(coordinator) as lab:
        place = lab.place(board)
        health = lab.book.readmit(place.name)
    if as_json:
        print_json({"board": place.name, "health": health.model_dump()})
    else:
        err().print(printable(f"{place.name}: {health}"))


class _Lab:
    """The lab's places, and what is known of their health."""

    def __init__(self, address: str, places: dict[str, Place]) -> None:
        from farm.inventory import load_board_types
        from farm.lab.health import HealthBook

        self.address = address
        self.book = HealthBook(address)
        self._places = places
        self._types = load_board_types()

    def place(self, name: str) -> Place:
        """Return one place.

        Raises:
            UsageError: the lab has none of that name; names the nearest.
        """
        from farm.lab.placement import check_names

        check_names([name], self._places, ())
        return self._places[name]

    def chosen(self, names: Sequence[str]) -> Iterable[tuple[Place, BoardType]]:
        """Return places with their types: those that are named, or all that are of a known type.

        Raises:
            UsageError: a name is not a place, or its type is unknown.
        """
        from farm.errors import UsageError
        from farm.lab.wanted import TYPE_TAG

        found = []
        for place in [self.place(name) for name in names] or self._places.values():
            board_type = self._types.get(place.tags.get(TYPE_TAG, ""))
            if board_type is not None:
                found.append((place, board_type))
            elif names:
                raise UsageError(
                    f"board {place.name} is of no type in board-configs/",
                    next_step=f"labgrid-client -p {place.name} set-tags {TYPE_TAG}=…",
                )
        return found

    def state(self, place: Place) -> str:
        """Return ``free``, or why the board cannot be had."""
        from farm.lab.explain import standing

        return standing(place).words(time.time())


@contextlib.contextmanager
def _lab(coordinator: str | None) -> Iterator[_Lab]:
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity

    with Coordinator(lab_address(coordinator), new_identity(local_host())) as lab:
        places = lab.places()
        address = lab.address
    yield _Lab(address, places)


def _collect(spec: Any, done: list[Boot]) -> str:
    """Fill ``done`` with boots as they end; return what ended it early, or nothing."""
    from farm.errors import InfraError
    from farm.run.checkup import check as boots_of

    try:
        for boot in boots_of(spec):
            done.append(boot)
            said = f"{boot.boot_s:.1f} s" if boot.ok else boot.reason
            err().print(printable(f"boot {boot.number} of {spec.boots}: {said}"), soft_wrap=True)
    except KeyboardInterrupt:
        return "interrupted"
    except InfraError as error:
        if not done:
            raise
        return error.message
    return ""


def _report(spec: Any, done: Sequence[Boot], ended: str) -> dict[str, Any]:
    from farm.analysis.boots import describe_boots

    failures: dict[str, list[int]] = {}
    for boot in done:
        if not boot.ok:
            failures.setdefault(boot.reason, []).append(boot.number)
    boots = [boot for boot in done if boot.number]
    good = [boot.boot_s for boot in boots if boot.ok]
    return {
        "board": spec.board,
        "wanted": spec.boots,
        "boots": [{"number": b.number, "boot_s": b.boot_s, "reason": b.reason} for b in boots],
        "passed": len(good),
        "failed": len(boots) - len(good),
        "boot_s": describe_boots(good),
        "failures": [{"reason": reason, "boots": at} for reason, at in failures.items()],
        "ended": ended,
        "folder": str(spec.folder),
        "exit": FAILED if failures or ended or not good else 0,
    }


def _print_report(report: dict[str, Any]) -> None:
    from farm.analysis.boots import bars

    console = out()
    asked = "" if report["wanted"] == len(report["boots"]) else f" of {report['wanted']}"
    console.print(
        printable(
            f"{report['board']}: {len(report['boots'])}{asked} boots, {report['passed']} good, "
            f"{report['failed']} failed"
        )
    )
    if report["ended"]:
        console.print(printable(f"ended early: {report['ended']}"), style="yellow", soft_wrap=True)
    if said := report["boot_s"]:
        words = ", ".join(f"{name} {value:.1f}" for name, value in said.items())
        console.print(f"seconds to SSH: {words}")
        for line in bars([boot["boot_s"] for boot in report["boots"] if not boot["reason"]]):
            console.print(line)
    if report["failures"]:
        listing = table("failed", "boots", "reason")
        for failure in report["failures"]:
            at = failure["boots"]
            shown = " ".join(str(number or "off") for number in at[:10])
            shown += " …" if len(at) > 10 else ""
            add_row(listing, [len(at), shown, failure["reason"]], styles={0: "red"})
        console.print(listing)
    log = Path(report["folder"]) / "console.log"
    if log.exists():  # not every board has a console
        console.print(f"console: {log}", soft_wrap=True)
