"""Stress with a seed: where the seed comes from, and that it decides what workers do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_project import CONFIGS, Project

from farm import inventory
from farm.board.ktap import Block, parse_block
from farm.board.payload import build
from farm.cli import main as frame
from farm.cli import settings
from farm.errors import ConfigError
from farm.events import MAX_SEED, Effort
from farm.lab.place import Place
from farm.pytest_plugin import settings as options
from farm.pytest_plugin.stress import Stress, timed_rounds
from farm.run.job import EXACT_SEED, draw_seed
from farm.run.plan import Wish, jobs


def stressed(*words: str, outcome: str = "pass") -> Block:
    done = subprocess.run(
        [build("host").path, "run", "self_stress", *words],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    block = parse_block(done.stdout, "self_stress", "manual")
    assert block.outcome == outcome, block.reason
    return block


@pytest.mark.parametrize("way", ["threads", "processes"])
def test_the_same_seed_makes_the_same_decisions(way: str) -> None:
    """However many rounds fitted into the time: the digest is over those that always do."""
    runs = [stressed("seed=7", f"as={way}", "ms=1") for _ in range(2)]
    for ms in (40, 400, 4000):  # whose turn it is on a busy machine may take longer than the first
        runs.append(stressed("seed=7", f"as={way}", f"ms={ms}"))
        if int(runs[-1].info["rounds"]) > int(runs[0].info["rounds"]):
            break
    assert {(run.info["decisions"], run.info["decided"]) for run in runs} == {
        (runs[0].info["decisions"], "8")
    }
    assert int(runs[-1].info["rounds"]) > int(runs[0].info["rounds"]) >= 4 * 8
    rate = next(sample for sample in runs[0].samples if sample.name == "operations")
    assert (rate.unit, rate.phase) == ("op/s", "stress") and rate.value > 0


def test_threads_and_processes_decide_alike_and_seeds_and_workers_differently() -> None:
    digests = [
        stressed(*words.split(), "rounds=100").info["decisions"]
        for words in (
            "seed=7 as=threads",
            "seed=7 as=processes",
            "seed=8 as=threads",
            "seed=7 as=threads workers=3",
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_rounds_are_exact_and_all_of_them_are_in_the_digest() -> None:
    short, long = (stressed("seed=3", f"rounds={n}", "workers=2") for n in (40, 41))
    assert (short.info["rounds"], short.info["decided"]) == ("80", "40")
    assert short.info["decisions"] != long.info["decisions"]


def test_a_failure_comes_again_in_the_same_round() -> None:
    reasons = {
        stressed("seed=5", "workers=1", "trap=123", "rounds=100000", outcome="fail").reason
        for _ in range(2)
    }
    assert len(reasons) == 1
    assert "worker 0 decided 123" in reasons.pop()


@pytest.mark.parametrize("words", [("workers=0",), ("workers=65",), ("seed=x",)])
def test_a_wrong_parameter_is_the_tests_own_fault(words: tuple[str, ...]) -> None:
    stressed(*words, outcome="error")


def test_what_a_case_is_told() -> None:
    told = Stress(seed=9, seconds=2.5).arguments
    assert (told["seed"], told["ms"]) == (9, 2500)
    assert told["timeout_s"] > 2.5


# --- where the seed comes from --------------------------------------------------------------------


@given(st.integers(0, MAX_SEED))
def test_a_chosen_seed_stays_and_a_drawn_one_fills_in(seed: int) -> None:
    assert Effort(seed=seed).seeded(1).seed == seed
    assert Effort().seeded(seed).seed == seed


def test_a_drawn_seed_is_within_bounds_and_on_exact_boards_always_the_same() -> None:
    assert len({draw_seed(exact=False) for _ in range(50)}) > 1
    assert all(0 < draw_seed(exact=False) <= MAX_SEED for _ in range(50))
    assert {draw_seed(exact=True) for _ in range(5)} == {EXACT_SEED}


def place(name: str, board_type: str) -> Place:
    tags = {"board_type": board_type, "image": "debian-13"}
    return Place(name, tags, frozenset(), holder="", reservation="", resources=(), missing=())


@pytest.mark.parametrize("seed", [None, 77])
def test_boards_of_a_run_share_one_seed(tmp_path: Path, seed: int | None) -> None:
    types = inventory.load_board_types()
    places = [place("a", "virt-smmuv3"), place("b", "virt-noiommu"), place("c", "virt-exact")]
    effort = Effort(seed=seed, stress_s=0.5, repeat=3)
    wish = Wish(run="run", coordinator="", folder=tmp_path, suites=[], effort=effort)
    one, two, exact = (job.effort for job in jobs(places, types, wish))
    assert one == two and (one.stress_s, one.repeat) == (0.5, 3)
    assert one.seed == seed if seed is not None else one.seed
    assert exact.seed == (EXACT_SEED if seed is None else seed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "-1"), "--seed -1: Input should be greater than or equal to 0"),
        (("--seed", str(MAX_SEED + 1)), "--seed 2147483648: Input should be less than"),
        (("--stress-seconds", "0"), "--stress-seconds 0.0: Input should be greater than 0"),
        (("--stress-seconds", "nan"), "--stress-seconds nan: Input should be"),
        (("--stress-seconds", "3001"), "--stress-seconds 3001.0: Input should be less than"),
        (("--repeat", "0"), "--repeat 0: Input should be greater than"),
    ],
)
def test_a_number_out_of_bounds_names_its_option(
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["farm", "run", "--list", *words])
    with pytest.raises(SystemExit) as caught:
        frame.main()
    assert caught.value.code == 2
    assert f"error: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("seed", "x", "--farm-seed: found 'x': Input should be a valid integer"),
        ("stress_seconds", "-1", "--farm-stress-seconds: found '-1': Input should be greater"),
        ("repeat", "1001", "--farm-repeat: found '1001': Input should be less"),
    ],
)
def test_an_option_of_pytest_out_of_bounds_is_named(
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setattr(pytestconfig.option, f"farm_{option}", value)
    with pytest.raises(pytest.UsageError, match=f"^{re.escape(said)}"):
        options.read(pytestconfig, CONFIGS / "virt-smmuv3.yaml")


def test_pytest_alone_says_the_same(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("suite/suite.toml", 'name = "suite"\n')
    config = str(CONFIGS / "virt-smmuv3.yaml")
    done = project.pytest("--lg-env", config, "suite", "--farm-repeat=1001")
    assert done.returncode == 4
    assert "--farm-repeat: found '1001': Input should be less" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_files_hold_numbers_where_numbers_belong(tmp_path: Path) -> None:
    path = tmp_path / "farm.toml"
    path.write_text("seed = 7\nstress_seconds = 0.5\nrepeat = 3\n")
    assert settings.load(path) == {"seed": 7, "stress_seconds": 0.5, "repeat": 3}
    for text in ('seed = "7"', "repeat = true"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"farm.toml:1: \w+: expected a number, seen"):
            settings.load(path)


@pytest.mark.parametrize(
    ("stress_s", "times"), [(0.0001, 1), (0.2, 200), (1.0, 1000), (60.0, 1000)]
)
def test_what_is_timed_is_repeated_less_often_below_a_second_only(
    stress_s: float, times: int
) -> None:
    assert timed_rounds(1000, stress_s) == times
