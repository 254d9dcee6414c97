"""A night that loses a worker, a board or its controller: what it owed is run, told, and told once.

Real coordinator, exporter, controller, workers and keepers; the boards play a script.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from campaign import Trial
from network_lab import SUITE, NetworkLab


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
        ("journal.case_started.after#3", {"PASS": 2, "INFRA": 1, "MISS": 1}, {"PASS": 2}),
        ("journal.leased.after", {}, {"PASS": 4}),
    ],
    ids=["between two tests", "in a test", "before its plan"],
)
def test_what_a_dead_worker_left_runs_on_another_board(
    lab: NetworkLab, point: str, first: dict[str, int], then: dict[str, int]
) -> None:
    trial, code = retried(lab, "board-1", f"board-1:{point}=kill")
    assert trial.by_job() == {"board-1": first, "board-2.retry": then}
    assert code == 0
