"""``farm run --dry-run``: which boards would be taken or waited for, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from farm.cli.output import add_row, err, error_text, out, print_json, table
from farm.cli.ownlab import unnamed_types, with_all_cores
from farm.cli.placing import Survey, alternatives, chosen_places, survey, with_featured_types
from farm.errors import LabError
from farm.lab.wanted import TYPE_TAG

if TYPE_CHECKING:
    from farm.cli.options import Options
    from farm.inventory import BoardType
    from farm.lab.place import Place
    from farm.lab.placement import Judged

TAKE, WAIT, OR, NO = "take", "wait", "or", "no"

STYLES = {TAKE: "green", WAIT: "yellow", OR: "cyan", NO: "dim"}


@dataclass(frozen=True, slots=True)
class Decision:
    """What would become of one place: ``take`` it, ``wait`` for it, take it instead (``or``), not.

    ``free_in_s`` is how long it may be held, in seconds, None where nobody knows.
    """

    board: str
    board_type: str
    decision: str
    state: str
    reason: str
    free_in_s: float | None


def dry_run(
    options: Options,
    types: Mapping[str, BoardType],
    select: Mapping[str, Sequence[str]] | None,
    *,
    as_json: bool,
) -> None:
    """Tell what a run would do with the lab as it is now; nothing is taken or changed.

    Raises:
        UsageError: what was asked for cannot be, on any board.
        Exit: with 3, what was asked for is not to be had now.
    """
    options = with_all_cores(with_featured_types(options, types), types)
    if not options.coordinator:
        _own_lab(options, types, as_json=as_json)
        return
    found = survey(options.coordinator, options, types)
    refusal: LabError | None = None
    taken: list[Place] = []
    try:
        taken = chosen_places(found, types, select)
    except LabError as error:
        refusal = error
    decisions = _decide(found, taken, types)
    if as_json:
        print_json(
            {
                "coordinator": found.coordinator,
                "virtual": [],
                "boards": [asdict(one) for one in decisions],
                "refusal": refusal.message if refusal else "",
                "exit": refusal.exit_code if refusal else 0,
            }
        )
    else:
        listing = table("board", "type", "decision", "why")
        for one in decisions:
            cells = [one.board, one.board_type, one.decision, one.reason]
            add_row(listing, cells, styles={2: STYLES[one.decision]})
        out().print(listing)
        if refusal:
            typer.echo(error_text(refusal), err=True)
    if refusal:
        raise typer.Exit(refusal.exit_code)


def _decide(
    found: Survey, taken: Sequence[Place], types: Mapping[str, BoardType]
) -> list[Decision]:
    from farm.lab.placement import judge

    others = alternatives(found, taken, types)
    instead = {other.name: name for name, some in others.items() for other in some}
    names = {place.name for place in taken}
    rows = []
    for one in judge(found.places.values(), types, found.request, found.outlook):
        name, lease = one.place.name, one.standing.lease
        decision, reason = _decision(one, name in names, instead.get(name, ""), found)
        rows.append(
            Decision(
                board=name,
                board_type=one.place.tags.get(TYPE_TAG, ""),
                decision=decision,
                state=one.standing.state.value,
                reason=reason,
                free_in_s=lease.left_s(found.outlook.now) if lease is not None else None,
            )
        )
    order = (TAKE, WAIT, OR, NO)
    return sorted(rows, key=lambda row: (order.index(row.decision), row.board))


def _decision(one: Judged, is_taken: bool, instead_of: str, found: Survey) -> tuple[str, str]:
    words = one.standing.words(found.outlook.now)
    if is_taken:
        return (TAKE if one.place.free else WAIT), words
    boards = found.request.boards
    if boards and not {one.place.name, one.place.tags.get(TYPE_TAG, "")} & set(boards):
        return NO, "not asked for"
    if one.mismatch:
        return NO, one.mismatch
    if instead_of:
        return OR, f"{words}; instead of {instead_of} if it is to be had sooner"
    return NO, "free, but not needed" if one.ready(may_wait=False) else words


def _own_lab(options: Options, types: Mapping[str, BoardType], *, as_json: bool) -> None:
    """Tell which virtual boards the run would bring up for itself."""
    from farm.lab.placement import check_names

    check_names(options.boards, (), [name for name, one in types.items() if one.virtual])
    boards = list(options.boards) or unnamed_types(options, types)
    if as_json:
        body = {"coordinator": "", "virtual": boards, "boards": [], "refusal": "", "exit": 0}
        print_json(body)
        return
    err().print("no lab is at hand; virtual boards would be brought up for the run:")
    for name in boards:
        out().print(name)
