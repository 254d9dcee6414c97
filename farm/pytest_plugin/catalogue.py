"""What tests there are: collected in this process, on no board."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from farm import paths
from farm.board import payload
from farm.board.envfile import check_environment
from farm.errors import FarmError, TestBroken, UsageError
from farm.inventory import BoardType
from farm.model import Device
from farm.pytest_plugin.collection import needs_of, nodeid_of, requirements_of
from farm.pytest_plugin.selectors import Selector, select
from farm.pytest_plugin.settings import usage_error
from farm.suites import EVERY_MARKER
from farm.yamlfile import nearest

NOTHING_SELECTED = int(pytest.ExitCode.NO_TESTS_COLLECTED)

_NAME = re.compile(r"([^\W\d][\w:+\-.\[\]\\/]*)\s*(\([^()]*\))?")
_GRAMMAR = frozenset({"and", "or", "not", "True", "False", "None"})


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Which of a suite's tests are wanted: pytest's ``-k`` and ``-m``, and requirements."""

    keyword: str = ""
    marker: str = ""
    requirements: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether it narrows anything."""
        return bool(self.keyword or self.marker or self.requirements)

    def __str__(self) -> str:
        """Return it as it stands on a command line."""
        words = [("-k", self.keyword), ("-m", self.marker)]
        words += [("--requirement", name) for name in self.requirements]
        return " ".join(f"{option} {value}" for option, value in words if value)

    @property
    def arguments(self) -> list[str]:
        """What pytest is told."""
        found = ["-k", self.keyword] if self.keyword else []
        found += ["-m", self.marker] if self.marker else []
        return found + [f"--farm-requirement={name}" for name in self.requirements]


@dataclass(frozen=True, slots=True)
class Listed:
    """One collected test: its id, its function's id, what it is evidence for, and what it needs.

    ``axes`` are the selectors that it runs over, ``needs`` what must be declared, and ``smp`` where
    it needs more than one CPU.
    """

    nodeid: str
    function: str
    requirements: tuple[str, ...]
    axes: Mapping[str, Selector] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def runs_on(self, devices: Sequence[Device], has: Collection[str]) -> bool:
        """Return whether a board that declares these has what it needs."""
        if not set(self.needs) <= set(has):
            return False
        return all(select(selector, devices) for selector in self.axes.values())


class _Collected:
    """pytest plugin that keeps what was collected, after all others had their say."""

    def __init__(self, marker: str) -> None:
        self.listed: list[Listed] = []
        self._marker = marker

    def pytest_collection(self, session: pytest.Session) -> None:
        """Refuse a marker that nobody declared; pytest would quietly select nothing."""
        known = {
            line.partition(":")[0].partition("(")[0] for line in session.config.getini("markers")
        }
        for name, _ in _NAME.findall(self._marker):
            if name not in known | _GRAMMAR:
                names = ", ".join(sorted(known))
                raise pytest.UsageError(
                    f"-m: no marker {name!r}{nearest(name, known)}; known: {names}"
                )

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep what there is; pytest asks for it after a refused collection as well."""
        try:
            cases = payload.needs_of_cases()
        except FarmError as error:
            raise usage_error(error) from error
        self.listed = [_listed(item, cases) for item in session.items]


def _listed(item: pytest.Item, cases: Mapping[str, str]) -> Listed:
    nodeid = nodeid_of(item)
    axes = {
        axis: one for marker in item.iter_markers("over") for axis, one in marker.kwargs.items()
    }
    function = nodeid.partition("[")[0]
    return Listed(nodeid, function, requirements_of(item), axes, needs_of(item, cases))


def collect(
    paths_below: Sequence[str],
    *,
    board_type: BoardType | None = None,
    image: str = "",
    narrowing: Narrowing | None = None,
    full: bool = False,
) -> list[Listed]:
    """Return the tests below ``testsuites/`` that pytest collects, in its order.

    Without a board type each test is there once, whatever it runs over. Without markers, those
    that ``testsuites/pytest.ini`` leaves out are only there with ``full``.

    Raises:
        UsageError: pytest refuses what it is asked for (an unknown marker or requirement, a wrong
            expression), or a suite's file is wrong.
        TestBroken: a suite cannot be collected; has pytest's own words.
    """
    wanted = narrowing or Narrowing()
    arguments = [
        "--collect-only",
        "--quiet",
        "--assert=plain",  # nothing is run
        "-pno:cacheprovider",
        "-pno:hypothesispytest",
        f"--rootdir={paths.testsuites()}",
    ]
    if board_type is not None:
        check_environment(board_type.config)
        arguments.append(f"--lg-env={board_type.config}")
        arguments.append(f"--farm-image={image or board_type.image}")
    if full and not wanted.marker:
        arguments += EVERY_MARKER
    collected = _Collected(wanted.marker)
    said = io.StringIO()
    words = [*arguments, *wanted.arguments, *paths_below]
    with (
        paths.working_folder(paths.testsuites()),
        _without_lg_env(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        code = int(pytest.main(words, [collected]))
    if code == pytest.ExitCode.USAGE_ERROR:
        told = [line for line in said.getvalue().splitlines() if line.startswith("ERROR: ")]
        raise UsageError((told or [said.getvalue().strip()])[0].removeprefix("ERROR: "))
    if code not in (0, NOTHING_SELECTED):
        where = f" for {board_type.name}" if board_type is not None else ""
        raise TestBroken(
            f"the suites cannot be collected{where} (pytest ended with {code}):\n{said.getvalue()}",
            next_step="correct that file; no board was touched",
        )
    return collected.listed


@contextlib.contextmanager
def _without_lg_env() -> Iterator[None]:
    """Keep a board that the environment names out of this: what is asked for counts."""
    named = os.environ.pop("LG_ENV", None)
    try:
        yield
    finally:
        if named is not None:
            os.environ["LG_ENV"] = named
