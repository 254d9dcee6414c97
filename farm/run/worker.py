"""One job, in a process of its own: lease, suites on the board, board off, release.

``python -m farm.run.worker JOB.json``. labgrid keeps process-wide state, hence one process per
board. The worker listens on stdin: a line with a reason, or the end of it when the orchestrator
dies, ends the job in order. It holds the journal before and after pytest; in between the plugin
writes it. Worker and keeper hold the job's lock while they live, so that whoever goes on with the
job of a dead controller can tell when they are gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from farm import events, failpoints, paths
from farm.errors import FarmError, JournalError, LabError
from farm.lab import durable
from farm.lab.coordinator import local_host
from farm.lab.lease import Lease, LeaseRequest, new_identity
from farm.lab.processes import leave
from farm.lab.wanted import IMAGE_TAG, Wanted
from farm.model import Verdict
from farm.run import joblist
from farm.run.closing import resumed, started
from farm.run.interrupts import uninterrupted
from farm.run.job import LATE, STOP_S, STOPPED, TAKEN, TIME_BOX, UNWRITABLE, JobSpec
from farm.run.journal import JournalWriter
from farm.run.view import JobView
from farm.suites import EVERY_MARKER

FOREIGN = ("LG_ENV", "LG_PLACE", "LG_STATE", "LG_INITIAL_STATE", "LG_TOKEN", "PYTEST_ADDOPTS")
"""Variables of whoever started the run that would change what a job does."""

NOTHING_SELECTED = 5

ORPHANED = "its controller died"
"""Why a job ends whose controller is gone."""

ENDINGS = {
    2: "a suite could not be collected; see worker.log",
    4: "pytest rejects its arguments; see worker.log",
    NOTHING_SELECTED: "no test was selected",
    LATE: TIME_BOX,
}
"""What pytest's exit codes mean where it ran no test and nobody asked it to stop."""


class Ending(NamedTuple):
    """Why a job ended early, empty where it did not; ``lost`` as in JobFinished."""

    reason: str = ""
    lost: bool = False


class Stop:
    """A wish to end the job early, from whichever thread; it interrupts the main thread once."""

    def __init__(self) -> None:
        """Start without a wish."""
        self.reason = ""
        self._lock = threading.Lock()
        self._armed = True

    def ask(self, reason: str) -> None:
        """Wish to end, and say why; only the first wish counts."""
        with self._lock:
            if self.reason:
                return
            self.reason = reason
            if self._armed:
                os.kill(os.getpid(), signal.SIGINT)
        failpoints.hit("worker.asked")

    def disarm(self) -> None:
        """Interrupt no more: the job is ending anyway."""
        with self._lock:
            self._armed = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    @property
    def ending(self) -> Ending:
        """How a job ends that is interrupted: it is lost, unless that is a user's wish."""
        return Ending(self.reason or "interrupted", self.reason != STOPPED)

    def listen(self, commands: int) -> None:
        """Take a line or the end of a descriptor as a wish; runs in a thread of its own."""
        while reason := os.read(commands, 1024):
            self.ask(reason.decode("utf-8", "replace").strip())
        self.ask(ORPHANED)
        time.sleep(STOP_S)  # nobody else is left who could end a worker that hangs
        os._exit(1)


class Worker:
    """Carries out one job."""

    def __init__(self, spec: JobSpec, stop: Stop, lock: int) -> None:
        """Take the job, the wish to stop, and the descriptor that holds the job's lock."""
        self.spec = spec
        self._stop = stop
        self._lock = lock
        self._lease: Lease | None = None

    def run(self) -> int:
        """Do the job; return the process's exit code."""
        end = Ending()
        clean = False
        try:
            with uninterrupted():  # whatever happens from here on has a journal to go to
                journal = self._begin()
            self._enlist()
            with journal:
                try:
                    self._take(journal)
                except FarmError as error:
                    end = Ending(error.message, lost=True)
            if self._lease is not None and not end.reason:
                end = self._suites()
                clean = not end.reason
        except KeyboardInterrupt:
            end = self._stop.ending
        finally:
            self._stop.disarm()
        failpoints.hit("worker.ending")
        with JournalWriter.open(self.spec.journal) as journal:
            try:
                self._give_back(journal, clean)
            except FarmError as error:
                end = end if end.reason else Ending(error.message, lost=True)
            reason, lost = end
            orphaned = reason == ORPHANED
            journal.write(
                events.JobFinished(ok=not reason, reason=reason, orphaned=orphaned, lost=lost)
            )
        if reason:
            print(f"{self.spec.board}: {reason}", file=sys.stderr)
        return 1 if reason else 0

    def _begin(self) -> JournalWriter:
        """Begin the job's journal, or go on with it; whoever began it may not have got far."""
        writer = JournalWriter.resume if self.spec.resumes else JournalWriter.create
        journal = writer(self.spec.journal)
        journal.write(started(self.spec) if journal.empty else resumed())
        return journal

    def _enlist(self) -> None:
        spec = self.spec
        joblist.enlist(
            coordinator=spec.coordinator,
            board=spec.board,
            board_type=spec.board_type,
            run=spec.run,
            job=spec.job,
            folder=spec.folder,
        )

    def _take(self, journal: JournalWriter) -> None:
        journal.write(events.StateChanged(state="waiting"))
        spec = self.spec
        request = LeaseRequest(
            coordinator=spec.coordinator,
            place="" if spec.wanted else spec.board,
            wanted=spec.wanted or Wanted(),
            identity=spec.reserved.identity if spec.reserved else new_identity(local_host()),
            token=spec.reserved.token if spec.reserved else "",
            run=spec.run,
            job=spec.job,
            owner=spec.owner,
            priority=spec.priority,
            expected_s=spec.expected_s,
            wait_s=spec.wait_s,
        )
        self._lease = Lease.take(request, on_lost=self._lost, kept=[self._lock])
        if spec.wanted is not None:
            self._placed(journal, self._lease, spec.wanted)
        journal.write(events.StateChanged(state="leased", detail=request.identity))
        os.environ.update(self._lease.environment())

    def _placed(self, journal: JournalWriter, lease: Lease, wanted: Wanted) -> None:
        """Take note of which board it is, here, in the journal and in the job's file."""
        from farm.run.plan import hardware, image_info

        image = image_info(lease.tags.get(IMAGE_TAG) or wanted.image, lease.tags)
        self.spec = self.spec.on(lease.place, image, hardware(lease.tags))
        journal.write(
            events.Placed(board=self.spec.board, image=self.spec.image, hardware=self.spec.hardware)
        )
        with contextlib.suppress(OSError):  # the journal has it
            self.spec.save()
        self._enlist()

    def _lost(self, reason: str) -> None:
        """End the job; at once, if going on in order would touch a board that is not ours."""
        if self._lease is not None and self._lease.taken:
            print(f"{self.spec.board}: {reason}", file=sys.stderr, flush=True)
            os._exit(TAKEN)
        self._stop.ask(reason)

    def _suites(self) -> Ending:
        """Run pytest; return how the job ended."""
        import pytest

        with paths.working_folder(paths.testsuites()):
            code = int(pytest.main(arguments(self.spec)))
        if code == NOTHING_SELECTED and self.spec.shards > 1 and not self._stop.reason:
            return Ending()  # the other boards have all that there is
        if self._stop.reason:
            return self._stop.ending
        return ending(code, _so_far(self.spec.journal))

    def _give_back(self, journal: JournalWriter, clean: bool) -> None:
        lease = self._lease
        if lease is None:
            return
        if lease.lost:
            # The keeper is dead or has let go; what it left is ended here, if it is still ours.
            from farm.lab.reconcile import end_dead_leases

            lease.abandon()
            with contextlib.suppress(LabError):
                end_dead_leases(self.spec.coordinator)
            journal.write(events.StateChanged(state="released", detail=lease.lost))
            return
        lease.release(board_off=not clean)
        if not clean:
            journal.write(events.StateChanged(state="off"))
        journal.write(events.StateChanged(state="released"))


def ending(code: int, view: JobView) -> Ending:
    """Return how a job ended: in order where every planned test has its verdict.

    ``code`` is pytest's exit code; the plugin answers 3 for a board that was lost, pytest itself
    for its own trouble.
    """
    if code in ENDINGS:
        return Ending(ENDINGS[code])
    if not view.planned:
        return Ending(f"pytest ended with {code} before any test; see worker.log")
    missing = len(view.planned) - view.done
    if not missing:
        return Ending()
    ended = next(reversed(view.last.values()), None)
    if ended is not None and ended.verdict in (Verdict.INFRA, Verdict.FAIL):
        # A board, or a driver under test, without which nothing more can run.
        return Ending(ended.reason, lost=ended.verdict is Verdict.INFRA)
    return Ending(f"{missing} tests never ran; see worker.log", lost=True)


def _so_far(journal: Path) -> JobView:
    view = JobView("")
    for event in events.read_journal(journal, events.Damage()):
        view.add(event)
    return view


def arguments(spec: JobSpec) -> list[str]:
    """Return pytest's arguments for a job."""
    found = [
        "--verbose",
        "--color=no",
        "-pno:cacheprovider",  # jobs side by side would share it
        f"--rootdir={paths.testsuites()}",
        f"--lg-env={spec.config}",
        f"--farm-journal={spec.journal}",
        f"--farm-image={spec.image.profile}",
        f"--farm-stress-seconds={spec.effort.stress_s:g}",
        f"--farm-repeat={spec.effort.repeat}",
    ]
    if spec.effort.seed is not None:
        found.append(f"--farm-seed={spec.effort.seed}")
    if spec.select is not None:
        found += [f"--farm-select={spec.select_file}", *EVERY_MARKER]
    if spec.until is not None:
        found.append(f"--farm-until={spec.until:.3f}")
    if spec.shards > 1:
        found.append(f"--farm-shard={spec.shard}/{spec.shards}")
    if not spec.cached:
        found.append("--farm-no-cache")
    return found + spec.suites


def _take_stdin() -> int:
    """Return a descriptor of what is stdin, and make stdin empty: pytest puts its own there."""
    kept = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return kept


def main(argv: list[str] | None = None) -> int:
    """Run the worker of the job whose specification is the only argument."""
    words = sys.argv[1:] if argv is None else argv
    for name in FOREIGN:
        os.environ.pop(name, None)
    spec = JobSpec.load(Path(words[0]))
    failpoints.about(spec.board)
    lock = durable.lock(spec.lock_file)
    if lock is None:
        print(f"{spec.board}: another worker has this job", file=sys.stderr)
        return 1
    failpoints.hit("worker.started")
    stop = Stop()

    def terminate(number: int, frame: FrameType | None) -> None:
        stop.ask("terminated")

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    commands = _take_stdin()
    threading.Thread(target=stop.listen, args=(commands,), name="commands", daemon=True).start()
    try:
        return Worker(spec, stop, lock).run()
    except JournalError as error:
        print(error, file=sys.stderr)
        return UNWRITABLE


if __name__ == "__main__":
    leave(main())
