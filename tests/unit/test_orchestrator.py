"""The orchestrator with workers that are small scripts: one job's death is one job's."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from farm import events
from farm.errors import InfraError
from farm.model import Verdict
from farm.run.closing import started
from farm.run.job import STOPPED, JobSpec
from farm.run.journal import JournalWriter
from farm.run.orchestrator import Job, Orchestrator

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from farm import events
from farm.errors import InfraError
from farm.model import Verdict
from farm.run.job import JobSpec
from farm.run.journal import JournalWriter

spec = JobSpec.load(Path(sys.argv[1]))
journal = JournalWriter.create(spec.journal)
keys = [events.Key(nodeid=name, suite="s", test=name) for name in ("one", "two", "three")]
journal.write(events.JobStarted(
    run=spec.run, job=spec.job, board=spec.board, board_type=spec.board_type, image=spec.image
))
journal.write(events.Plan(tests=keys))

def case(name):
    journal.write(events.CaseStarted(nodeid=name))
    journal.write(events.CaseFinished(nodeid=name, verdict=Verdict.PASS))
"""
WHOLE = "for key in keys: case(key.nodeid)\njournal.write(events.JobFinished())"
KILLED = """
case('one')
journal.write(events.CaseStarted(nodeid='two'))
os.kill(os.getpid(), signal.SIGKILL)
"""
OBEDIENT = """
case('one')
word = sys.stdin.readline()
journal.write(events.JobFinished(ok=False, reason=word.strip()))
"""
STUBBORN = "case('one')\nwhile True: signal.pause()"


class Recorder:
    """Progress that keeps what it is told, and may act on it."""

    def __init__(self, act: object = None) -> None:
        self.said: list[str] = []
        self.act = act

    def update(self, jobs: Sequence[Job]) -> None:
        if callable(self.act):
            self.act(jobs)

    def say(self, text: str) -> None:
        self.said.append(text)


def spec(folder: Path, board: str, script: str) -> JobSpec:
    home = folder / board
    home.mkdir()
    (home / "worker.py").write_text(textwrap.dedent(PRELUDE) + script)
    return JobSpec(
        run="run",
        job=board,
        coordinator="127.0.0.1:1",
        board=board,
        board_type="sample",
        config=folder / "sample.yaml",
        image=events.ImageInfo(profile="none"),
        folder=home,
    )


LAUNCH = (
    sys.executable,
    "-c",
    "import runpy, sys; from pathlib import Path;"
    "runpy.run_path(str(Path(sys.argv[1]).parent / 'worker.py'))",
)


def run(specs: list[JobSpec], progress: Recorder | None = None) -> dict[str, Job]:
    made = Orchestrator(specs, progress or Recorder(), command=LAUNCH)
    return {job.spec.board: job for job in made.run()}


def test_jobs_run_side_by_side_and_are_counted(tmp_path: Path) -> None:
    jobs = run([spec(tmp_path, name, WHOLE) for name in ("a", "b")])
    for job in jobs.values():
        assert job.view.ok
        assert job.exit == 0
        assert job.view.final_counts() == {Verdict.PASS: 3}


def test_a_killed_worker_leaves_the_other_job_unharmed(tmp_path: Path) -> None:
    jobs = run([spec(tmp_path, "a", KILLED), spec(tmp_path, "b", WHOLE)])
    assert jobs["b"].view.ok
    assert jobs["b"].view.final_counts() == {Verdict.PASS: 3}
    dead = jobs["a"].view
    assert not dead.ok
    assert "was killed by SIGKILL" in dead.reason
    assert dead.final_counts() == {Verdict.PASS: 1, Verdict.INFRA: 1, Verdict.MISS: 1}


def test_a_dead_workers_journal_says_how_it_died(tmp_path: Path) -> None:
    job = run([spec(tmp_path, "a", KILLED)])["a"]
    *_, last = events.read_journal(job.spec.journal)
    assert isinstance(last, events.JobFinished)
    assert (last.ok, last.reason, last.orphaned) == (False, job.view.reason, False)
    assert last.lost


def test_a_job_that_was_resumed_in_vain_ends_with_its_own_reason(tmp_path: Path) -> None:
    job = spec(tmp_path, "a", "")
    with JournalWriter.create(job.journal) as journal:
        journal.write(started(job))
        journal.write(events.JobFinished(ok=False, reason="its controller died", orphaned=True))
    (job.folder / "worker.py").write_text("raise RuntimeError('broken')")
    assert "ended with exit code 1" in run([job])["a"].view.reason
    *_, last = events.read_journal(job.journal)
    assert isinstance(last, events.JobFinished) and not last.orphaned


class Mute(Recorder):
    """Progress whose reader is gone."""

    def update(self, jobs: Sequence[Job]) -> None:
        raise BrokenPipeError

    def say(self, text: str) -> None:
        raise BrokenPipeError


def test_a_run_that_cannot_show_its_progress_goes_on(tmp_path: Path) -> None:
    assert run([spec(tmp_path, "a", WHOLE)], Mute())["a"].view.ok


def test_a_worker_that_breaks_at_once_is_one_jobs_end(tmp_path: Path) -> None:
    broken = spec(tmp_path, "a", "")
    (broken.folder / "worker.py").write_text("raise RuntimeError('broken')")
    job = run([broken])["a"]
    assert "ended with exit code 1" in job.view.reason
    assert job.view.final_counts() == {}
    assert "RuntimeError: broken" in broken.worker_log.read_text()


class Interrupt:
    """Sends this process SIGINT each time a condition newly holds."""

    def __init__(self, *counts: int) -> None:
        self.wanted = list(counts)

    def __call__(self, jobs: Sequence[Job]) -> None:
        if self.wanted and all(job.view.done >= self.wanted[0] for job in jobs):
            self.wanted.pop(0)
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.timeout(60)
def test_an_interrupt_asks_the_workers_to_end_in_order(tmp_path: Path) -> None:
    progress = Recorder(Interrupt(1))
    jobs = run([spec(tmp_path, name, OBEDIENT) for name in ("a", "b")], progress)
    for job in jobs.values():
        assert job.view.reason == STOPPED
        assert job.view.final_counts() == {Verdict.PASS: 1, Verdict.MISS: 2}
    assert len(progress.said) == 1


@pytest.mark.timeout(60)
def test_a_second_interrupt_kills_them(tmp_path: Path) -> None:
    jobs = run([spec(tmp_path, "a", STUBBORN)], Recorder(Interrupt(1, 1)))
    assert (jobs["a"].view.reason, jobs["a"].view.lost) == (STOPPED, False)
    assert jobs["a"].view.final_counts() == {Verdict.PASS: 1, Verdict.MISS: 2}


@pytest.mark.timeout(60)
def test_a_silent_job_is_asked_to_end(tmp_path: Path) -> None:
    job = spec(tmp_path, "a", OBEDIENT)
    progress = Recorder()
    made = Orchestrator([job], progress, command=LAUNCH, clock=_clock_that_jumps(progress))
    assert made.run()[0].view.reason == "nothing happened for 908 s"


def _clock_that_jumps(progress: Recorder) -> Callable[[], float]:
    """Return a clock that shows the next hour for one look once a case is done."""
    state = {"done": False, "looks": 0}
    progress.act = lambda jobs: state.update(done=jobs[0].view.done == 1)

    def clock() -> float:
        state["looks"] += state["done"]
        return 3600.0 if state["looks"] else 0.0

    return clock


def test_a_folder_that_cannot_be_written_is_an_infra_error(tmp_path: Path) -> None:
    job = spec(tmp_path, "a", WHOLE)
    (tmp_path / "file").touch()
    broken = job.model_copy(update={"folder": tmp_path / "file" / "a"})
    with pytest.raises(InfraError, match="cannot be written") as caught:
        run([broken])
    assert "--out" in caught.value.next_step


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run([spec(tmp_path, "a", WHOLE)])
    assert signal.getsignal(signal.SIGINT) is before
