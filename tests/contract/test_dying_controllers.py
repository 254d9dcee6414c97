"""Whatever happens to a controller or its lab, and whenever: what was begun can be finished.

Real coordinator, exporter, controller, workers and keepers; the boards play a script.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from network_lab import TESTS, NetworkLab
from trials import CONTROLLER, RESUME, Trial, clocked, run_into_full_pipe, when_held

from farm import events

PAUSE = threading.Event()


def await_file(process: Any, file: Path) -> None:
    """Wait until somebody is held at a failpoint, which makes the file, or fail with the run."""
    while not file.exists():
        assert process.poll() is None
        PAUSE.wait(0.02)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkLab]:
    made = NetworkLab(tmp_path_factory.mktemp("lab"), 2)  # one for the farm, one for a person
    try:
        yield made
    finally:
        made.close()


def some(points: tuple[Any, ...], *quick: Any) -> list[Any]:
    """Return the points as parameters; all but the quick ones are for `make test-all`."""
    return [pytest.param(one, marks=() if one in quick else pytest.mark.slow) for one in points]


@pytest.mark.parametrize(
    "point",
    some(
        CONTROLLER,
        "controller.recorded", "controller.heard", "controller.finished", "controller.kept",
    ),
)  # fmt: skip
def test_a_controller_killed_at_each_transition(lab: NetworkLab, point: str) -> None:
    turn = "#7" if point == "controller.heard" else ""
    trial = Trial(lab, ["board-1"], point)
    code = trial.run(failpoints=f"{point}{turn}=kill")
    assert code == -signal.SIGKILL, trial.told
    trial.settle()
    assert trial.account.clean, f"{trial.account}\n{trial.told}"
    owed = CONTROLLER.index(point) >= CONTROLLER.index("controller.recorded")
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": TESTS}] * owed


@pytest.mark.parametrize("point", some(RESUME, "resume.prepared"))
def test_a_controller_killed_while_it_finishes_what_another_left(
    lab: NetworkLab, point: str
) -> None:
    trial = Trial(lab, ["board-1"], point)
    trial.run(failpoints="controller.spawned=kill,journal.booting.after=kill")
    assert trial.run("resume", failpoints=f"{point}=kill") == -signal.SIGKILL, trial.told
    trial.settle()
    assert trial.account.clean, f"{trial.account}\n{trial.told}"
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": TESTS}]


def test_the_next_run_finishes_the_last_one_first(lab: NetworkLab) -> None:
    trial = Trial(lab, ["board-1"], "controller and worker")
    trial.run_until_both_die()
    assert trial.run() == 0
    assert "its controller died; finishing it first" in " ".join(trial.told.split())
    trial.settle()
    assert trial.account.clean, trial.account
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": TESTS}] * 2


def test_a_closed_run_keeps_what_it_had_and_runs_no_more(lab: NetworkLab) -> None:
    trial = Trial(lab, ["board-1"], "controller and worker")
    trial.run_until_both_die()
    assert trial.run("resume", "--close") == 3
    trial.settle()
    assert trial.account.clean, trial.account
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": 2, "MISS": 2}]
    assert len(lab.boards["board-1"].ran) >= 2


def test_a_run_that_lives_is_nobody_elses(lab: NetworkLab) -> None:
    trial = Trial(lab, ["board-1"], "")

    def meddle() -> None:
        done = lab.call("resume")
        assert (done.returncode, "is being carried out by process" in done.stderr) == (0, True)

    file = lab.folder / "alive"
    code = trial.run(
        failpoints=f"journal.case_finished.after#2=hold:{file}", during=when_held(file, meddle)
    )
    assert code == 0
    trial.settle()
    assert trial.account.clean, trial.account


@pytest.mark.parametrize("where", ["controller.specs", "controller.record"])
def test_a_run_that_cannot_be_recorded_does_not_begin(lab: NetworkLab, where: str) -> None:
    trial = Trial(lab, ["board-1"], "")
    assert trial.run(failpoints=f"{where}=enospc") == 3
    assert "No space left on device" in " ".join(trial.told.split())
    assert "Traceback" not in trial.told
    trial.settle()
    assert trial.account.clean, trial.account
    assert not trial.seen


def held(lab: NetworkLab, point: str, act: Any, **more: str) -> tuple[Trial, int]:
    """Run a job, do something while it is held at a point, and return the trial, settled."""
    trial = Trial(lab, ["board-1"], point)
    file = lab.folder / "held"
    code = trial.run(
        failpoints=f"{point}=hold:{file}", during=when_held(file, lambda: act(trial)), **more
    )
    told = trial.told
    trial.settle()
    assert trial.account.clean, f"{trial.account}\n{told}"
    return trial, code


MIDST = ("journal.waiting.after", "journal.leased.after", "journal.case_finished.after#2",
         "journal.off.after", "journal.released.after")  # fmt: skip


@pytest.mark.parametrize("point", some(MIDST, "journal.case_finished.after#2"))
def test_a_coordinator_that_restarts_at_each_transition(lab: NetworkLab, point: str) -> None:
    held(lab, point, lambda trial: lab.restart_coordinator())


@pytest.mark.parametrize("point", some(MIDST, "journal.leased.after"))
def test_an_exporter_that_vanishes_at_each_transition(lab: NetworkLab, point: str) -> None:
    held(lab, point, lambda trial: lab.restart_exporter())


@pytest.mark.parametrize("point", some(MIDST, "journal.case_finished.after#2"))
def test_a_machine_that_loses_its_power_at_each_transition(lab: NetworkLab, point: str) -> None:
    trial, code = held(lab, point, lambda trial: lab.lose_power())
    assert code == -signal.SIGKILL
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": TESTS}]


@pytest.mark.parametrize("jump", some((7 * 86400, -7 * 86400), -7 * 86400))
def test_a_clock_that_jumps_in_mid_run(lab: NetworkLab, tmp_path: Path, jump: int) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    trial, code = held(
        lab,
        "journal.case_finished.after#2",
        lambda trial: clock.write_text(str(jump)),
        **clocked(clock),
    )
    assert code == 0
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": TESTS}]


@pytest.mark.parametrize("point", ["journal.waiting.after", "journal.case_finished.after#2"])
def test_an_interrupt_ends_in_order(lab: NetworkLab, point: str) -> None:
    trial = Trial(lab, ["board-1"], point)
    file, asked = lab.folder / "held", lab.folder / "asked"

    def interrupt(process: Any) -> None:
        """Let the worker go on only when it was asked to stop: its tests are done in no time."""
        await_file(process, file)
        process.send_signal(signal.SIGINT)
        await_file(process, asked)
        file.unlink()
        asked.unlink()

    words = f"{point}=hold:{file},worker.asked=hold:{asked}"
    assert trial.run(failpoints=words, during=interrupt) == 3
    assert "stopping: boards go off" in " ".join(trial.told.split())
    (told,) = trial.seen.values()
    last = told[-1]
    assert isinstance(last, events.JobFinished) and last.reason == "stopped by the user"
    assert trial.run("resume") == 0 and "no run is unfinished" in trial.told
    trial.settle()
    assert trial.account.clean, trial.account


def test_a_second_interrupt_ends_at_once_and_leaves_nothing(lab: NetworkLab) -> None:
    trial = Trial(lab, ["board-1"], "twice")
    file, asked = lab.folder / "held", lab.folder / "asked"

    def interrupt(process: Any) -> None:
        await_file(process, file)
        process.send_signal(signal.SIGINT)
        await_file(process, asked)  # the first was heeded, and is not the second
        process.send_signal(signal.SIGINT)

    words = f"journal.case_finished.after#2=hold:{file},worker.asked=hold:{asked}"
    assert trial.run(failpoints=words, during=interrupt) == 3
    assert "killing the workers" in " ".join(trial.told.split())
    file.unlink()
    asked.unlink()
    trial.settle()
    assert trial.account.clean, trial.account
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": 2, "MISS": 2}]


def test_progress_into_a_pipe_that_is_full_and_then_closed(lab: NetworkLab) -> None:
    trial = Trial(lab, ["board-1"], "full pipe")
    file = lab.folder / "held"
    run_into_full_pipe(trial, f"journal.released.after=hold:{file}", file)
    trial.settle()
    assert trial.account.clean, trial.account
    assert [dict(one) for one in trial.verdicts()] == [{"PASS": TESTS}]
