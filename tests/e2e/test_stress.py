"""Stress and replicates on a virtual board: what a seed repeats, and what repeats a failure."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from farm import events

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BOARD = ("--board", "virt-smmuv3")
SUITE = """\
import pytest

def _replicate(board, seen=[]):
    seen.append(board)
    return len(seen)

@pytest.mark.case("self_stress")
def test_trapped(board, stress):
    board.run("self_stress", workers=1, trap=123, **stress.arguments)

@pytest.mark.case("self_samples")
def test_now_and_then(board):
    board.run("self_samples", count=2)
    assert _replicate(board) % 3, "the third of each three"
"""


def finished(run: dict[str, Any]) -> dict[str, list[events.CaseFinished]]:
    found: dict[str, list[events.CaseFinished]] = {}
    for event in events.read_journal(Path(run["jobs"][0]["journal"])):
        if isinstance(event, events.CaseFinished):
            found.setdefault(event.nodeid, []).append(event)
    return found


def test_the_same_seed_makes_the_same_decisions(own_farm: Any) -> None:
    words = ("run", "sync/test_stress.py", "-k", "churn and vgem or orders and vgem", *BOARD)
    runs = [
        own_farm.json(*words, "--seed", seed, "--stress-seconds", seconds)
        for seed, seconds in (("7", "0.2"), ("7", "0.6"), ("8", "0.2"))
    ]
    assert [run["exit"] for run in runs] == [0, 0, 0]
    assert [run["jobs"][0]["seed"] for run in runs] == [7, 7, 8]
    one, again, other = (
        {nodeid: ends[0].decisions for nodeid, ends in finished(run).items()} for run in runs
    )
    assert len(one) >= 2 and all(one.values())
    assert one == again
    assert not set(one.values()) & set(other.values())


def test_a_failure_names_the_command_that_repeats_it(own_farm: Any) -> None:
    own_farm.own_suite("trapped", SUITE)
    done = own_farm.call("run", "trapped", "-k", "test_trapped", *BOARD)
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("again: ")]
    (command,) = (shlex.split(line.removeprefix("again: ")) for line in said)
    assert command[:3] == ["farm", "run", "trapped/test_trapped.py::test_trapped"]
    shown = own_farm.json("show")["cases"][0]
    assert shlex.split(shown["again"]) == command
    assert f"seed: {shown['seed']}" in done.stdout
    assert own_farm.call("show").stdout.count("again: ") == 1
    report = own_farm.folder / "report.html"
    own_farm.call("report", "--out", str(report))
    assert shlex.join(command) in report.read_text()

    assert own_farm.call(*command[1:]).returncode == 1
    repeated = own_farm.json("show")["cases"][0]
    assert repeated["reason"] == shown["reason"]
    assert "decided 123" in shown["reason"] and repeated["seed"] == shown["seed"]


def test_replicates_are_kept_and_the_worst_one_counts(own_farm: Any) -> None:
    own_farm.own_suite("trapped", SUITE)
    run = own_farm.json("run", "trapped", "-k", "now_and_then", *BOARD, "--repeat", "5")
    assert run["exit"] == 1
    (case,) = own_farm.json("show")["cases"]
    assert case["verdict"] == "FAIL"
    assert case["reason"].startswith("1 of 5 replicates: ")
    assert [one["verdict"] for one in case["replicates"]] == [
        "PASS",
        "PASS",
        "FAIL",
        "PASS",
        "PASS",
    ]
    walls = [
        one["replicate"]
        for one in case["samples"]
        if one["metric"] == "wall" and one["params"] == {"phase": "first"}
    ]
    assert walls == [0, 1, 2, 3, 4]
    steps = [one["params"] for one in case["samples"] if one["metric"] == "step"]
    assert steps[:2] == [{"phase": "loop"}, {"phase": "loop", "nth": "2"}]
