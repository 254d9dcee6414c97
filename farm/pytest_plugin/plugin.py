"""Entry point that pytest loads in every run of this environment.

Without ``--lg-env``, or with a labgrid config that has no ``farm:`` section, it only declares its
options, markers and fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from farm.pytest_plugin import collection, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from farm.pytest_plugin.board import Board
    from farm.pytest_plugin.cells import Cell
    from farm.pytest_plugin.execution import BoardRun
    from farm.pytest_plugin.programs import Programs
    from farm.pytest_plugin.stress import Stress

_RUN: pytest.StashKey[BoardRun] = pytest.StashKey()
_NO_BOARD = "no board: give --lg-env board-configs/<board type>.yaml"
_MARKERS = (
    "requirement(id, ...): the requirements that a test is evidence for",
    "case(name, ...): the payload cases that a test runs; the first is the one measured",
    "declared(feature, ...): skip where board type and image declare no such feature",
    "full: takes long and adds little: only run where it is asked for (-m full)",
    "long: takes seconds on any board, however quick; a demonstration leaves it out",
    "over(axis=selector): run once for each declared device that the selector chooses",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; take over where the run is on one of our boards."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    path = settings.board_config(config)
    if path is None:
        if config.getoption("farm_journal"):
            raise pytest.UsageError("--farm-journal goes with --lg-env of a board config")
        return
    collection.leave_out_full(config)
    # Imported here, so that a run without a board does not pay for what drives one.
    from farm.board.target import environment_of
    from farm.pytest_plugin.execution import BoardRun
    from farm.pytest_plugin.job import Job

    chosen = settings.read(config, path)
    run = BoardRun(config, Job(chosen, lambda: environment_of(config.stash)))
    config.stash[_RUN] = run
    config.pluginmanager.register(run, "farm-board")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the suites' files, and keep the tests of the requirements that were asked for."""
    collection.check_suites(items)
    wanted = config.getoption("farm_requirement")
    if wanted:
        collection.keep(config, items, collection.only_for(items, wanted))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Without a board, give each test that wants devices one skipped row."""
    if _RUN not in metafunc.config.stash:
        collection.parametrise(metafunc, None)


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Board:
    """The board under test, booted, with its payload running."""
    return _run(request).board(request.node)


@pytest.fixture
def stress(request: pytest.FixtureRequest) -> Stress:
    """The seed and the seconds of a stress case: ``board.run(case, **stress.arguments)``.

    The case declares ``seed=1 ms=500 rounds=0`` among its parameters and takes its decisions from
    ``payload/stress.h``; a failure then names the command that repeats them.
    """
    return _run(request).stress(request.node)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often to repeat what is timed: ``rounds(1000)``.

    In proportion fewer where ``--stress-seconds`` is below 1: whoever has no time for stress has
    none for small spreads.
    """
    return _run(request).rounds


@pytest.fixture
def programs(request: pytest.FixtureRequest) -> Programs:
    """Programs that are no payload cases, on the board under test; see docs/external.md."""
    return _run(request).programs(request.node)


@pytest.fixture
def matrix_cell(request: pytest.FixtureRequest) -> Cell:
    """Note what became of one exporter and importer: ``(exporter, importer, outcome, errno)``."""
    return _run(request).cell(request.node)


def _run(request: pytest.FixtureRequest) -> BoardRun:
    run = request.config.stash.get(_RUN, None)
    if run is None:
        pytest.skip(_NO_BOARD)
    return run
