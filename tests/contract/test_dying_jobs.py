"""Whichever worker or keeper dies, and wherever: its job is over, and nothing else is lost.

Real coordinator, exporter, controller, workers and keepers; the boards play a script. Jobs side by
side each die at a point of their own, since that is as telling and costs less than a run for each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from network_lab import NetworkLab
from trials import FULL, JOB, Trial

BOARDS = 8
"""Boards for the farm; one more is a person's."""

AFTER = tuple(name for name in JOB if not name.endswith(".before"))
BEFORE = tuple(name for name in JOB if name.endswith(".before"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkLab]:
    made = NetworkLab(tmp_path_factory.mktemp("lab"), BOARDS + 1)
    try:
        yield made
    finally:
        made.close()


def batches(points: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [points[n : n + BOARDS] for n in range(0, len(points), BOARDS)]


def named(batch: tuple[str, ...]) -> str:
    return f"{batch[0]}..{batch[-1]}"


def injure(lab: NetworkLab, batch: tuple[str, ...], action: str) -> Trial:
    """Run a job for each point, which meets ``action`` there; return the trial, settled."""
    words = [f"board-{n}:{point}={action}" for n, point in enumerate(batch, 1)]
    if "lease.off" in batch:  # where the keeper comes only once its worker is dead
        words.append(f"board-{batch.index('lease.off') + 1}:journal.case_finished.after=kill")
    trial = Trial(lab, [f"board-{n}" for n in range(1, len(batch) + 1)], action)
    trial.run(failpoints=",".join(words))
    trial.settle()
    assert trial.account.clean, f"{trial.account}\n{trial.told}"
    return trial


@pytest.mark.parametrize("batch", batches(AFTER), ids=named)
def test_workers_and_keepers_killed_after_each_transition(
    lab: NetworkLab, batch: tuple[str, ...]
) -> None:
    injure(lab, batch, "kill")


@pytest.mark.slow
@pytest.mark.parametrize("batch", batches(BEFORE), ids=named)
def test_workers_killed_before_each_transition_is_written(
    lab: NetworkLab, batch: tuple[str, ...]
) -> None:
    injure(lab, batch, "kill")


QUICK = ("journal.leased.before", "journal.plan.before", "journal.case_finished.before")


@pytest.mark.parametrize(
    "batch",
    [QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in batches(FULL))],
    ids=named,
)
def test_a_disk_that_is_full_as_each_transition_is_written(
    lab: NetworkLab, batch: tuple[str, ...]
) -> None:
    injure(lab, batch, "enospc")
