"""A night that loses a worker, a board or its controller: what it owed is run, told, and told once.

Real coordinator, exporter, controller, workers and keepers; the boards play a script.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from network_lab import SUITE, TESTS, NetworkLab
from night_trials import NightTrial, owed
from receivers import WebServer, web_server
from trials import TELLING, Trial, when_held

from farm.cli.telling import AGAIN


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkLab]:
    made = NetworkLab(tmp_path_factory.mktemp("lab"), 3)  # the last one is a person's
    try:
        yield made
    finally:
        made.close()


def retried(lab: NetworkLab, board: str, failpoints: str) -> tuple[Trial, int]:
    """Run a job on a board with retries; return the trial, settled, and the exit code."""
    trial = Trial(lab, [board], failpoints)
    code = trial.run(
        "run", SUITE, "-b", board, "--retry-infra", "--no-check", failpoints=failpoints
    )
    told = trial.told
    trial.settle()
    assert trial.account.clean, f"{trial.account}\n{told}"
    return trial, code


@pytest.mark.parametrize(
    ("point", "first", "then"),
    [
        ("journal.case_finished.after#2", {"PASS": 2, "MISS": 2}, {"PASS": 2}),
        ("journal.leased.after", {}, {"PASS": 4}),
        pytest.param(
            "journal.case_started.after#3",
            {"PASS": 2, "INFRA": 1, "MISS": 1},
            {"PASS": 2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["between two tests", "before its plan", "in a test"],
)
def test_what_a_dead_worker_left_runs_on_another_board(
    lab: NetworkLab, point: str, first: dict[str, int], then: dict[str, int]
) -> None:
    trial, code = retried(lab, "board-1", f"board-1:{point}=kill")
    assert trial.by_job() == {"board-1": first, "board-2.retry": then}
    assert code == 0


def test_what_a_job_cannot_go_on_with_runs_on_another_board(lab: NetworkLab) -> None:
    """Its controller died, and meanwhile somebody gave its board other hardware."""
    trial = Trial(lab, ["board-1"], "other hardware")
    words = ("run", SUITE, "-b", "board-1", "--retry-infra", "--no-check")
    trial.run_until_both_die(*words)
    with lab.client() as client:
        client.set_tags("board-1", {"hw_revision": "2"})
        assert trial.run("resume") == 0, trial.told
        client.set_tags("board-1", {"hw_revision": ""})
    assert trial.settle().clean, trial.account
    assert trial.by_job() == {"board-1": {"PASS": 2, "MISS": 2}, "board-2.retry": {"PASS": 2}}


@pytest.fixture
def hooks() -> Iterator[dict[str, WebServer]]:
    with web_server() as ann, web_server() as bob:
        yield {"ann": ann, "bob": bob}


def test_a_controller_killed_at_each_step_of_telling(
    lab: NetworkLab, hooks: dict[str, WebServer]
) -> None:
    """Each who finishes the night dies a step further on; who may have been told is told so."""
    assert TELLING == (
        "telling.record", "telling.recorded", "telling.begun", "telling.sent", "telling.marked",
    )  # fmt: skip
    trial = NightTrial(lab, "telling", hooks)
    assert trial.night("telling.record=kill") == -signal.SIGKILL, trial.told
    told = {"telling.recorded": 0, "telling.begun": 0, "telling.sent": 1, "telling.marked": 2}
    for point, times in told.items():
        assert trial.run("resume", failpoints=f"{point}=kill") == -signal.SIGKILL, trial.told
        assert (len(trial.posts("ann")), len(trial.posts("bob"))) == (times, 0), point
    assert trial.run("run", "-k", "none_of_these") == 2
    assert "not everybody was told of this night" in " ".join(trial.told.split())
    assert trial.run("resume", failpoints="telling.begun=kill") == -signal.SIGKILL
    assert len(owed(lab)) == 1
    assert trial.run("resume") == 3, "its controller died"
    first, second = trial.posts("ann")
    (only,) = trial.posts("bob")
    assert AGAIN in first and second == first
    assert AGAIN in only and "its controller died" in only
    assert trial.run("resume") == 0 and "no run is unfinished" in trial.told
    assert trial.settle().clean, trial.account
    assert trial.by_job() == {"board-1": {"PASS": TESTS}, "board-2": {"PASS": TESTS}}


def test_a_full_disk_keeps_nobody_from_being_told(
    lab: NetworkLab, hooks: dict[str, WebServer]
) -> None:
    trial = NightTrial(lab, "telling.record=enospc", hooks, boards=["board-1"])
    assert trial.night("telling.record=enospc") == 0, trial.told
    assert "No space left on device" in " ".join(trial.told.split())
    assert (len(trial.posts("ann")), len(trial.posts("bob"))) == (1, 1)
    assert trial.settle().clean, trial.account
    assert (len(trial.posts("ann")), len(trial.posts("bob"))) == (1, 1)


def test_who_was_not_told_since_a_user_stopped_it_is_told_later(
    lab: NetworkLab, hooks: dict[str, WebServer]
) -> None:
    trial = NightTrial(lab, "Ctrl-C", hooks, boards=["board-1"])
    file = lab.folder / "held"

    def interrupt(process: Any) -> None:
        when_held(file, lambda: process.send_signal(signal.SIGINT))(process)

    assert trial.night(f"telling.marked#1=hold:{file}", interrupt) == 3, trial.told
    assert "to tell the others: farm resume" in " ".join(trial.told.split())
    assert (len(trial.posts("ann")), len(trial.posts("bob"))) == (1, 0)
    assert trial.run("nightly", str(trial.plan)) == 0, trial.told
    last, tonight = trial.posts("bob")
    assert AGAIN not in last and len(trial.posts("ann")) == 2
    assert last == trial.posts("ann")[0] and tonight == trial.posts("ann")[1]
    assert trial.settle().clean, trial.account
