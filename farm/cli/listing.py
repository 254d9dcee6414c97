"""``farm run --list``: what there is to run, by board type, without booting anything."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from farm.cli.output import add_row, out, print_json, table
from farm.errors import TestBroken

if TYPE_CHECKING:
    import pytest

    from farm.cli.run import Options
    from farm.inventory import BoardType


class _Collected:
    """pytest plugin that keeps what was collected, after all others had their say."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def list_tests(options: Options, *, as_json: bool) -> None:
    """Print the tests of each board type that was asked for.

    Raises:
        TestBroken: a suite cannot be collected.
    """
    from farm.inventory import load_board_types

    types = load_board_types()
    listed = {name: _tests(types[name], options) for name in _types(options, types)}
    if as_json:
        rows = [{"board_type": name, "tests": tests} for name, tests in listed.items()]
        print_json({"board_types": rows})
        return
    for name, tests in listed.items():
        listing = table("test", "requirements", title=f"{name}: {len(tests)} tests")
        for test in tests:
            add_row(listing, [test["nodeid"], " ".join(test["requirements"])])
        out().print(listing)
        out().print()


def _types(options: Options, types: Mapping[str, BoardType]) -> Sequence[str]:
    """Return the board types that a run would take: those named, or those of the lab's boards."""
    from farm.lab.placement import TYPE_TAG, check_names
    from farm.lab.virtual import default_types

    if not options.coordinator:
        check_names(options.boards, (), types)
        return list(dict.fromkeys(options.boards)) or default_types(types)
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity

    with Coordinator(options.coordinator, new_identity(local_host())) as lab:
        places = lab.places()
    check_names(options.boards, places, types)
    words = options.boards or [
        name
        for name, place in places.items()
        if all(place.tags.get(key) == value for key, value in options.match.items())
    ]
    kinds = [places[word].tags.get(TYPE_TAG, "") if word in places else word for word in words]
    return [kind for kind in dict.fromkeys(kinds) if kind in types]


def _tests(board_type: BoardType, options: Options) -> list[dict[str, Any]]:
    import pytest

    from farm import paths
    from farm.board.envfile import check_environment

    check_environment(board_type.config)
    collected = _Collected()
    arguments = [
        "--collect-only",
        "--quiet",
        "-pno:cacheprovider",
        f"--rootdir={paths.testsuites()}",
        f"--lg-env={board_type.config}",
        f"--farm-image={options.image or board_type.image}",
        *(("-k", options.keyword) if options.keyword else ()),
        *options.suites,
    ]
    said = io.StringIO()
    before = os.getcwd()  # noqa: PTH109 (what chdir wants back)
    os.chdir(paths.testsuites())
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = int(pytest.main(arguments, plugins=[collected]))
    finally:
        os.chdir(before)
    if code not in (0, 5):
        sys.stderr.write(said.getvalue())
        raise TestBroken(
            f"the suites cannot be collected for {board_type.name} (pytest's exit code {code})",
            next_step="pytest's own words are above",
        )
    return [
        {
            "nodeid": item.nodeid,
            "requirements": sorted(
                {str(arg) for mark in item.iter_markers("requirement") for arg in mark.args}
            ),
        }
        for item in collected.items
    ]
