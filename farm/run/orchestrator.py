"""Runs jobs side by side, one worker process per board, and tells their progress.

A worker's crash is one job's end, never the run's. What a worker leaves behind its keeper ends;
what it had recorded is in its journal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from farm import events, failpoints
from farm.errors import InfraError, JournalError
from farm.run.closing import close
from farm.run.job import STOP_S, STOPPED, TAKEN, UNWRITABLE, JobSpec
from farm.run.view import Follower, JobView

TICK_S = 0.2
"""How often journals and workers are looked at."""

SILENT_S = 900.0
"""How long a journal may say nothing before its job is ended: every step has a shorter limit."""

STRESS_CASES = 4
"""Stress cases of one test, at most: each may go on for as long as was asked for."""

NO_PROXY = "127.0.0.1,localhost"


class Progress(Protocol):
    """What shows a run's progress."""

    def update(self, jobs: Sequence[Job]) -> None:
        """Show the jobs as they are now."""

    def say(self, text: str) -> None:
        """Show one line."""


@dataclass(slots=True)
class Job:
    """One job with its worker's process."""

    spec: JobSpec
    view: JobView
    follower: Follower
    process: subprocess.Popen[bytes] | None = None
    exit: int | None = None
    heard: float = 0.0
    asked_to_stop: float = 0.0
    over: bool = False
    findings_told: int = 0
    state_told: str = ""

    @property
    def folder(self) -> Path:
        """Where the job keeps its files."""
        return self.spec.folder


class Orchestrator:
    """Runs a set of jobs."""

    def __init__(
        self,
        specs: Sequence[JobSpec],
        progress: Progress,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        command: Sequence[str] = (sys.executable, "-m", "farm.run.worker"),
    ) -> None:
        """Take the jobs; ``command`` starts a worker, its specification's path follows."""
        self.jobs = [Job(spec, JobView(_shown(spec)), Follower(spec.journal)) for spec in specs]
        self.interrupts = 0
        self._heeded = 0
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._command = tuple(command)

    def run(self) -> list[Job]:
        """Run every job to its end and return them.

        A first Ctrl-C (or SIGTERM) asks the workers to end in order; a second one kills them, and
        their keepers switch the boards off.

        Raises:
            InfraError: a job's folder cannot be written.
        """
        specs = [self._save(job.spec) for job in self.jobs]
        with _interrupts(self._interrupted):
            for job, spec in zip(self.jobs, specs, strict=True):
                self._start(job, spec)
            while any(not job.over for job in self.jobs):
                self._heed()
                self._look()
                self._show()
                self._sleep(TICK_S)
            self._show()
            failpoints.hit("controller.finished")
        return self.jobs

    def _show(self) -> None:
        """Show the jobs; one who cannot be shown anything any more does not end a run."""
        with contextlib.suppress(OSError):
            self._progress.update(self.jobs)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._progress.say(text)

    def _save(self, spec: JobSpec) -> Path:
        try:
            failpoints.hit("controller.specs")
            return spec.save()
        except OSError as error:
            raise InfraError(
                f"{spec.folder}: cannot be written: {error.strerror}",
                next_step="give another folder with --out",
            ) from error

    def _start(self, job: Job, spec: Path) -> None:
        job.heard = self._clock()
        with job.spec.worker_log.open("ab") as log:
            job.process = subprocess.Popen(
                [*self._command, str(spec)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the terminal comes through us only
                env={**os.environ, "NO_PROXY": NO_PROXY, "no_proxy": NO_PROXY},
            )
        failpoints.hit("controller.spawned")

    def _look(self) -> None:
        for job in self.jobs:
            if job.over:
                continue
            assert job.process is not None
            code = job.process.poll()
            now = self._clock()
            for event in job.follower.news():
                self._hear(job, event)
                job.heard = now
                failpoints.hit("controller.heard")
            if code is not None:
                self._end(job, code)
            elif job.asked_to_stop:
                if now - job.asked_to_stop > STOP_S:
                    job.process.kill()
            elif now - job.heard > (patience := _patience(job.spec)):
                self._ask(job, f"nothing happened for {patience:g} s")

    def _hear(self, job: Job, event: events.Event) -> None:
        job.view.add(event)
        if isinstance(event, events.Placed):
            job.spec = job.spec.on(event.board, event.image, event.hardware)

    def _end(self, job: Job, code: int) -> None:
        assert job.process is not None and job.process.stdin is not None
        with contextlib.suppress(OSError):
            job.process.stdin.close()
        for event in job.follower.news():
            self._hear(job, event)
        job.exit = code
        job.over = True
        if not job.view.over:
            self._close(job, STOPPED if self.interrupts else _death(code, job.spec))
        failpoints.hit("controller.ended")

    def _close(self, job: Job, reason: str) -> None:
        """End a dead worker's journal, so that it says what became of the job."""
        try:
            close(job.spec, reason, lost=reason != STOPPED)
            for event in job.follower.news():
                self._hear(job, event)
        except JournalError as error:
            self._say(str(error))
        job.view.close(reason)

    def _interrupted(self) -> None:
        self.interrupts += 1  # the loop heeds it: a signal handler should do no more

    def _heed(self) -> None:
        if self.interrupts == self._heeded:
            return
        self._heeded = self.interrupts
        running = [job for job in self.jobs if job.process is not None and not job.over]
        if self.interrupts > 1:
            self._say("killing the workers; their keepers switch the boards off")
            for job in running:
                assert job.process is not None
                job.process.kill()
            return
        self._say("stopping: boards go off, leases end, results are kept (again: kill)")
        for job in running:
            self._ask(job, STOPPED)

    def _ask(self, job: Job, reason: str) -> None:
        """Ask a worker to end in order."""
        assert job.process is not None and job.process.stdin is not None
        job.asked_to_stop = self._clock()
        with contextlib.suppress(OSError):
            job.process.stdin.write(f"{reason}\n".encode())
            job.process.stdin.flush()


def _shown(spec: JobSpec) -> str:
    """Return how a job is called: by its board, once that is known."""
    return spec.job if spec.wanted else spec.board


def _patience(spec: JobSpec) -> float:
    """Return how long a job may say nothing, in seconds."""
    return SILENT_S + spec.wait_s + STRESS_CASES * spec.effort.stress_s


def _death(code: int, spec: JobSpec) -> str:
    if code == TAKEN:
        return f"somebody else took board {spec.board}; see {spec.worker_log}"
    if code == UNWRITABLE:
        return f"the journal could not be written; see {spec.worker_log}"
    if code < 0:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
    else:
        how = f"ended with exit code {code}"
    return f"the job's worker {how}; see {spec.worker_log}"


@contextlib.contextmanager
def _interrupts(handle: Callable[[], None]) -> Iterator[None]:
    """Call ``handle`` for every SIGINT and SIGTERM inside the block."""

    def handler(number: int, frame: FrameType | None) -> None:
        handle()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
