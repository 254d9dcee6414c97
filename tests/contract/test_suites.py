"""Suites, requirements, payload cases and expectations name each other; none is left over."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType

import pytest

from farm import inventory, paths
from farm.board import payload
from farm.board.kernel import KernelRelease
from farm.model import Device
from farm.pytest_plugin.expectations import Expectations, load_expectations
from farm.pytest_plugin.selectors import Selector, describe, select
from farm.requirements import load_requirements
from farm.suites import FILE_NAME, load_suite
from tests.support.suite_marks import suite_module

SUITES = sorted(file.parent for file in paths.testsuites().glob("*/suite.toml"))
BOOTED = {
    "debian-12": "6.1.0-49-arm64",
    "debian-13": "6.12.107+deb13-arm64",
    "debian-sid": "7.2.13+deb14-arm64",
    "reference-6.12": "6.12.107-reference",
    "reference-7.x": "7.3.4-reference",
}
"""Image profiles that have been booted with every suite: each pair must have an expectation."""

VIRTUAL = sorted(name for name, one in inventory.load_board_types().items() if one.virtual)


@dataclass(frozen=True)
class SuiteTest:
    suite: str
    function: Callable[..., object]

    @property
    def id(self) -> str:
        return f"{self.suite}::{self.function.__name__}"

    def marked(self, name: str) -> tuple[str, ...]:
        marks = getattr(self.function, "pytestmark", [])
        return tuple(word for mark in marks if mark.name == name for word in mark.args)

    def axes(self) -> dict[str, Selector]:
        marks = getattr(self.function, "pytestmark", [])
        return {
            axis: selector
            for mark in marks
            if mark.name == "over"
            for axis, selector in mark.kwargs.items()
        }


@pytest.fixture(scope="module")
def cases() -> dict[str, payload.CaseInfo]:
    return {case.name: case for case in payload.build("host").cases}


def suite_tests() -> Iterator[SuiteTest]:
    for folder in SUITES:
        for file in sorted(folder.glob("test_*.py")):
            for name, found in vars(suite_module(file)).items():
                if name.startswith("test_") and isinstance(found, FunctionType):
                    yield SuiteTest(folder.name, found)


TESTS = list(suite_tests())
each_test = pytest.mark.parametrize("test", TESTS, ids=[test.id for test in TESTS])


@pytest.mark.parametrize("folder", SUITES, ids=lambda folder: folder.name)
def test_suite_says_what_it_is(folder: Path) -> None:
    said = tomllib.loads((folder / "suite.toml").read_text(encoding="utf-8"))
    assert set(said) - {"default"} == {"name", "title", "sentence", "thread"}
    assert said["name"] == folder.name
    assert said["sentence"].endswith(".")
    assert all(said[name] for name in set(said) - {"default"})


@each_test
def test_is_described_in_one_sentence(test: SuiteTest) -> None:
    said = (test.function.__doc__ or "").strip()
    assert said.endswith("."), "a test says what it checks and why, in one sentence"
    assert "\n" not in said


@each_test
def test_functions_that_choose_devices_say_which(test: SuiteTest) -> None:
    for selector in filter(callable, test.axes().values()):
        assert (selector.__doc__ or "").startswith(("A ", "An ")), selector.__qualname__
        assert len(describe(selector).split()) > 2, selector.__qualname__


@pytest.mark.parametrize(
    "test",
    [test for test in TESTS if load_suite(paths.testsuites() / test.suite / FILE_NAME).default],
    ids=lambda test: test.id,
)
def test_names_requirements_of_its_suite(test: SuiteTest) -> None:
    known = load_requirements()
    named = test.marked("requirement")
    assert named, "a test without a requirement"
    assert set(named) <= set(known)
    assert known[named[0]].suite == test.suite, "the first is what the test is there for"


@each_test
def test_names_cases_that_the_payload_has(
    test: SuiteTest, cases: dict[str, payload.CaseInfo]
) -> None:
    for name in test.marked("case"):
        assert name in cases


@each_test
def test_finds_devices_on_some_virtual_board(test: SuiteTest) -> None:
    boards = [_devices(board_type, profile) for board_type in VIRTUAL for profile in BOOTED]
    assert any(
        all(select(selector, devices) for selector in test.axes().values()) for devices in boards
    ), f"nothing to run {test.id} over on any virtual board"


def test_every_case_is_run_by_a_test(cases: dict[str, payload.CaseInfo]) -> None:
    run = {name for test in TESTS for name in test.marked("case")}
    folders = {folder.name for folder in SUITES}
    assert {case.name for case in cases.values() if case.suite in folders} <= run


def test_every_tested_requirement_keeps_a_test() -> None:
    named = {name for test in TESTS for name in test.marked("requirement")}
    assert named == set(load_requirements())


@pytest.mark.parametrize("profile", BOOTED)
@pytest.mark.parametrize("board_type", VIRTUAL)
def test_every_pair_has_an_expectation(board_type: str, profile: str) -> None:
    assert _rows(load_expectations(), board_type, profile)


def test_every_expectation_is_met_by_some_pair() -> None:
    table = load_expectations()
    releases = [KernelRelease.parse(kernel) for kernel in BOOTED.values()]
    met: set[int] = set()
    drivers = {"*", "own"}
    for board_type in VIRTUAL:
        for profile in BOOTED:
            met |= _rows(table, board_type, profile)
            drivers |= {device.driver for device in _devices(board_type, profile)}
    reachable = {
        row.line
        for row in table.imports
        if any(row.kernel.contains(one) for one in releases)
        and {row.exporter, row.importer} <= drivers
    }
    assert reachable == met


def _rows(table: Expectations, board_type: str, profile: str) -> set[int]:
    """Return the lines of the rows that a board's pairs meet."""
    devices = _devices(board_type, profile)
    release = KernelRelease.parse(BOOTED[profile])
    features = inventory.load_board_types()[board_type].features
    return {
        table.of_import(exporter, importer, release, features).line
        for exporter in devices
        if exporter.exports
        for importer in devices
        if importer.imports
    }


@cache
def _devices(board_type: str, profile: str) -> tuple[Device, ...]:
    chosen = inventory.load_board_types()[board_type]
    return inventory.devices(chosen, inventory.load_image_profile(profile))
