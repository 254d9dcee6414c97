"""``farm run --list``: what there is to run, by board type, without booting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.cli.chosen import chosen_tests
from farm.cli.output import add_row, out, print_json, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from farm.cli.options import Options
    from farm.inventory import BoardType


def list_tests(
    options: Options,
    types: Mapping[str, BoardType],
    select: Mapping[str, Sequence[str]] | None,
    *,
    as_json: bool,
) -> None:
    """Print the tests of each board type that was asked for.

    ``select`` are node ids by board type that limit them.

    Raises:
        UsageError: what was asked for names nothing.
        LabError: the lab has no such board.
        TestBroken: a suite cannot be collected.
    """
    chosen = chosen_tests(options, types, select)
    if as_json:
        print_json(
            {
                "board_types": [
                    {
                        "board_type": name,
                        "tests": [
                            {"nodeid": one.nodeid, "requirements": sorted(one.requirements)}
                            for one in tests
                        ],
                    }
                    for name, tests in chosen.items()
                ]
            }
        )
        return
    for name, tests in chosen.items():
        listing = table("test", "requirements", title=f"{name}: {len(tests)} tests")
        for test in tests:
            add_row(listing, [test.nodeid, " ".join(sorted(test.requirements))])
        out().print(listing)
        out().print()
