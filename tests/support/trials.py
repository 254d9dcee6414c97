"""Deaths and troubles against ``farm run`` and ``farm nightly``, and the account of what they cost.

A trial is one run on a :class:`NetworkLab` with something injected, what `farm resume` makes of
it, and the account: every result that was once in a journal is in the store with its verdict, none
is there twice, every planned test has one, no board is on or held, and a person's hold stands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network_lab import PERSON, SUITE, TESTS, NetworkLab

from farm import events
from farm.errors import UsageError
from farm.failpoints import EXIT_CODE, POINTS, VARIABLE, WRITES
from farm.store import load_run, open_store
from farm.store.records import TestRecord

SUPPORT = Path(__file__).parent

PATIENCE_S = 240.0
"""Bound on waiting for what happens soon unless something is wrong."""

RARE = ("rebooting", "case_blamed", "complaint", "job_resumed", "placed")
"""Events that a run of the scripted boards does not have, or only one that is resumed."""

CONTROLLER = tuple(name for name in POINTS if name.startswith("controller."))
RESUME = tuple(name for name in POINTS if name.startswith("resume."))
TELLING = tuple(name for name in POINTS if name.startswith("telling."))
JOB = tuple(
    name
    for name in POINTS
    if not name.startswith(("controller.", "resume.", "telling."))
    and name.split(".")[1] not in RARE
    and name != "worker.asked"
)
"""Points of worker and keeper that every job comes to, but for ``keeper.beat``."""

FULL = tuple(name for name in JOB if name in WRITES)


@dataclass(slots=True)
class Account:
    """What one trial did and cost; ``lost`` says in words what should not be."""

    injected: str
    runs: int = 0
    results: int = 0
    killed: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.held)

    def __str__(self) -> str:
        return "; ".join([*self.lost, *self.doubled, *self.held]) or "nothing lost"


Journals = dict[Path, list[events.Event]]


class Trial:
    """One run with something injected. The last board of the lab is a person's."""

    def __init__(self, lab: NetworkLab, boards: Sequence[str], injected: str) -> None:
        self.lab = lab
        self.boards = boards
        self.account = Account(injected)
        self.before = set(self._journal_files())
        self.seen: Journals = {}
        self.said = self.told = ""

    def run(
        self,
        *words: str,
        failpoints: str = "",
        during: Callable[[Any], None] = lambda process: None,
        stderr: int = subprocess.PIPE,
        **more: str,
    ) -> int:
        """Run ``farm WORDS`` (a new run if there are none) and return its exit code.

        ``during`` may do something to its process meanwhile.
        """
        command = words or (
            "run", SUITE, "--no-check", *(word for name in self.boards for word in ("-b", name)),
        )  # fmt: skip
        variables = {VARIABLE: failpoints} if failpoints else {}
        process = self.lab.start(*command, stderr=stderr, **variables, **more)
        during(process)
        self.said, told = process.communicate(timeout=PATIENCE_S)
        self.told = told or ""
        self.account.runs += 1
        self.account.killed += process.returncode in (-signal.SIGKILL, EXIT_CODE)
        self.note()
        return process.returncode

    def run_until_both_die(self, *words: str) -> None:
        """Run until two results are in, then kill the controller, and its worker as it stands."""
        file = self.lab.folder / "both"

        def kill(process: Any) -> None:
            process.kill()
            process.wait()
            for pid in self.lab.processes():
                with contextlib.suppress(OSError):  # one that has just ended
                    if b"farm.run.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)

        self.run(
            *words,
            failpoints=f"journal.case_finished.after#2=hold:{file}",
            during=lambda process: when_held(file, lambda: kill(process))(process),
        )

    def note(self) -> None:
        """Remember every result that a journal holds now."""
        for file in set(self._journal_files()) - self.before:
            self.seen[file] = self.seen.get(file, []) + _events(file)

    def settle(self) -> Account:
        """Wait until nothing runs, have what is unfinished finished, and draw up the account."""
        self._await(lambda: not self.lab.processes(), "a process of the farm did not end")
        code = self.run("resume")
        if code not in (0, 1, 3):
            self.account.lost.append(f"farm resume ended with {code}: {self.told[-500:]}")
        self._await(lambda: not self.lab.processes(), "a process of farm resume did not end")
        with self.lab.client() as client:
            self.lab.await_online(client)
        self._results()
        self._boards()
        return self.account

    def verdicts(self) -> list[Counter[str]]:
        """Return how many tests of each job ended with each verdict, as the store has it."""
        return [counted for _, counted in self._counted()]

    def by_job(self) -> dict[str, Counter[str]]:
        """Return the same by the jobs' names, where the trial was one run."""
        return dict(self._counted())

    def _counted(self) -> list[tuple[str, Counter[str]]]:
        return [
            (file.parent.name, Counter(str(one.verdict) for one in self._stored(told[0]).values()))
            for file, told in sorted(self.seen.items())
            if told
        ]

    def _results(self) -> None:
        for file, seen in self.seen.items():
            known = _finished(_events(file))
            twice = [key for key, count in Counter(k for k, _ in known).items() if count > 1]
            self.account.doubled += [f"{file.parent.name}: {key} twice" for key in twice]
            final = dict(known)
            for key, verdict in _finished(seen):
                if final.get(key) != verdict:
                    self.account.lost.append(f"{file.parent.name}: {key} was {verdict}")
            self._compare_store(file, known)
        left = list((self.lab.folder / "state" / "farm" / "runs").glob("*.json"))
        self.account.lost += [f"{path.name} is unfinished" for path in left]

    def _compare_store(self, file: Path, known: list[tuple[tuple[str, int, int], str]]) -> None:
        told = _events(file)
        if not told or not isinstance(told[0], events.JobStarted):
            self.account.lost.append(f"{file}: no job in it")
            return
        planned = {
            key.nodeid for event in told if isinstance(event, events.Plan) for key in event.tests
        }
        rows = self._stored(told[0])
        self.account.results += len(rows)
        whole = len(planned) in (0, TESTS) or told[0].purpose
        if set(rows) != planned or not whole:
            self.account.lost.append(f"{told[0].job}: {len(rows)} verdicts of {len(planned)} tests")
        ended = dict((key[0], verdict) for key, verdict in known)
        for nodeid, row in rows.items():
            if row.verdict not in (ended.get(nodeid), "INFRA", "MISS"):
                self.account.lost.append(f"{told[0].job}: {row.verdict} is not {ended.get(nodeid)}")

    def _stored(self, start: events.Event) -> dict[str, TestRecord]:
        """Return the last attempt of each test of a job, as the store has it, by node id."""
        assert isinstance(start, events.JobStarted)
        with open_store(str(self.lab.folder / "data" / "farm" / "farm.db")) as store:
            try:
                run = load_run(store, start.run)
            except UsageError:  # none of it was kept
                return {}
        return {
            test.nodeid: test
            for job in run.jobs
            if job.job == start.job
            for test in sorted(job.tests, key=lambda one: one.attempt)
        }

    def _boards(self) -> None:
        with self.lab.client() as client:
            places = client.places()
            waiting = [one.owner for one in client.reservations()]
        *ours, persons = self.lab.boards
        for name in ours:
            if self.lab.boards[name].on:
                self.account.held.append(f"{name} is on")
            if not places[name].free:
                self.account.held.append(f"{name} is held by {places[name].holder or 'somebody'}")
        self.account.held += [f"{owner} still waits" for owner in waiting]
        if places[persons].holder != f"desk/{PERSON}":
            self.account.held.append(f"{persons} was taken from {PERSON}")
        if self.lab.boards[persons].ran:
            self.account.held.append(f"{persons} was used")
        leases = self.lab.folder / "state" / "farm" / "leases"
        self.account.held += [f"lease {path.name}" for path in leases.glob("*.json")]

    def _await(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                self.account.held.append(otherwise)
                for pid in self.lab.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)

    def _journal_files(self) -> list[Path]:
        return list((self.lab.folder / "data" / "farm" / "runs").glob("*/*/journal.jsonl"))


def when_held(file: Path, act: Callable[[], None]) -> Callable[[Any], None]:
    """Return what does something once a process waits at its failpoint (``hold:FILE``)."""

    def watch(process: Any) -> None:
        while not file.exists() and process.poll() is None:
            time.sleep(0.02)
        act()
        file.unlink(missing_ok=True)

    return watch


def clocked(file: Path) -> dict[str, str]:
    """Return variables with which a process's clock is off by the seconds that ``file`` holds."""
    path = [str(SUPPORT / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"FARM_TEST_CLOCK": str(file), "PYTHONPATH": os.pathsep.join(path)}


def run_into_full_pipe(trial: Trial, failpoint: str, file: Path) -> None:
    """Run with stderr a pipe that is full, and that nobody has any more once ``file`` is there."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ))

    def close(process: Any) -> None:
        os.close(writer)
        when_held(file, lambda: os.close(reader))(process)

    trial.run(failpoints=failpoint, during=close, stderr=writer)


def _events(file: Path) -> list[events.Event]:
    return list(events.read_journal(file))


def _finished(told: list[events.Event]) -> list[tuple[tuple[str, int, int], str]]:
    return [
        ((one.nodeid, one.attempt, one.replicate), str(one.verdict))
        for one in {event.seq: event for event in told}.values()
        if isinstance(one, events.CaseFinished)
    ]
