"""Exact boards: the same numbers every time, and an edit moves those of the edited case only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from suite_files import suite_toml

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

CASE = """\
#include "farm.h"

CASE(loop_{name}, "Adds up numbers in a window")
{{
	volatile unsigned int sum = 0;

	window_begin();
	for (unsigned int i = 0; i < {rounds}; i++)
		sum += i;
	window_end("loop");
	info("sum", "%u", sum);
}}
"""
TESTS = """\
import pytest


@pytest.mark.case("loop_one")
def test_one(board):
    board.run("loop_one")


@pytest.mark.case("loop_two")
def test_two(board):
    board.run("loop_two")


@pytest.mark.case("self_two_cpus")
def test_together(board):
    board.run("self_two_cpus")
"""
IMPORT = "mapcache/test_mapcache.py::test_second_import_costs_no_map[udmabuf-cirrus-1048576]"
SUITES = ("loops", IMPORT)


@pytest.fixture
def project(tmp_path: Path, own_farm: Any) -> Path:
    """A project of the test's own: everything that there is, and a suite of two loops."""
    folder = tmp_path / "project"
    for name in ("board-configs", "testsuites"):
        shutil.copytree(ROOT / name, folder / name)
    suite = folder / "testsuites" / "loops"
    suite.mkdir()
    (suite / "suite.toml").write_text(suite_toml(suite.name))
    (suite / "test_loops.py").write_text(TESTS)
    for name in ("one", "two"):
        (suite / f"{name}.c").write_text(CASE.format(name=name, rounds=1000))
    own_farm.variables["FARM_ROOT"] = str(folder)
    return folder


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Other programs that take every processor as far as they get it."""
    script = "while True: pass"
    busy = [
        subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", script])
        for _ in os.sched_getaffinity(0)
    ]
    yield
    for process in busy:
        process.kill()
        process.wait()


def measure(farm: Any, *words: str, anew: bool = True) -> dict[str, Any]:
    options = ["--no-cache"] if anew else []
    done = farm.call("run", "--board", "virt-exact", *options, *words, "--json")
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def compared(farm: Any, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    done = farm.call("compare", before["run"], after["run"], "--json")
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(done.stdout)
    assert body["verdicts"] == body["only_before"] == body["only_after"] == []
    return body


def cases(farm: Any, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    shown = farm.json("show", run["run"])
    return {case["test"]: case for case in shown["cases"]}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_suite_gives_the_same_numbers_twice(own_farm: Any, busy_machine: None) -> None:
    first, second = (own_farm.json("run", "--board", "virt-exact", "--no-cache") for _ in range(2))
    found = own_farm.json("compare", first["run"], second["run"])
    assert found["exact"]["equal"] > 1000
    assert found["exact"]["differences"] == found["verdicts"] == []
    assert found["noisy"]["untold"] == found["noisy"]["still"] == 0


def test_every_number_is_the_same_and_an_edit_moves_its_own_case_only(
    own_farm: Any, project: Path, busy_machine: None
) -> None:
    first = measure(own_farm, *SUITES)
    second = measure(own_farm, *SUITES)

    same = compared(own_farm, first, second)
    assert same["exact"]["differences"] == same["identity"] == []
    assert same["exact"]["equal"] > 100 and same["noisy"]["untold"] == 0
    measured = cases(own_farm, first)
    assert measured["test_together"]["verdict"] == "SKIP"
    assert "needs two CPUs" in measured["test_together"]["reason"]

    one = project / "testsuites" / "loops" / "one.c"
    one.write_text(CASE.format(name="one", rounds=1001))
    edited = measure(own_farm, *SUITES)

    changed = compared(own_farm, second, edited)
    assert {fact["nodeid"] for fact in changed["exact"]["differences"]} == {
        "loops/test_loops.py::test_one"
    }
    assert [one["what"] for one in changed["identity"]] == ["case loop_one"]
    grown = {
        fact["metric"]: fact["after"] - fact["before"]
        for fact in changed["exact"]["differences"]
        if fact["params"]["phase"] == "loop"
    }
    assert 0 < grown["pmu_instructions"] < 20

    known = measure(own_farm, *SUITES, anew=False)
    assert compared(own_farm, edited, known)["exact"]["differences"] == []
    reasons = {name: case["reason"] for name, case in cases(own_farm, known).items()}
    assert all(reasons[name].startswith("cached: ") for name in ("test_one", "test_two"))
