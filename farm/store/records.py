"""What the store holds, as frozen dataclasses: the currency of analysis and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.again import again
from farm.events import Effort
from farm.model import WITHIN, Absent, ImageProvenance, Purpose, Verdict
from farm.settling import Part, made_good


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One measured value and the series that it belongs to (see :mod:`farm.store.series`)."""

    series: str
    metric: str
    value: float
    unit: str
    params: Mapping[str, str]
    replicate: int


@dataclass(frozen=True, slots=True)
class ReplicateRecord:
    """What became of one replicate of a test."""

    verdict: Verdict
    reason: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the sharing matrix; ``outcome`` is one of the plugin's OUTCOMES."""

    exporter: str
    importer: str
    outcome: str
    errno: str = ""


@dataclass(frozen=True, slots=True)
class TestRecord:
    """One attempt of one test; ``final`` marks the attempt that counts for the run.

    ``boot`` is the number of the boot that it ran on, 0 where it ran on none; ``started_at`` is
    seconds since the epoch, 0.0 where it never started. ``observed`` is what a NEW one saw and
    could be accepted as. ``replicates`` is empty where there was one. ``seeded`` says that it took
    its decisions by the job's seed, ``decisions`` is the digest of them, where it got so far.
    """

    __test__ = False  # not a pytest class

    nodeid: str
    attempt: int
    final: bool
    suite: str
    test: str
    case: str
    case_hash: str
    params: Mapping[str, str]
    requirements: tuple[str, ...]
    verdict: Verdict
    reason: str
    duration_s: float
    started_at: float
    boot: int
    console: tuple[str, ...]
    cell: Cell | None
    samples: tuple[SampleRecord, ...]
    absent: tuple[Absent, ...]
    observed: Mapping[str, str] = field(default_factory=dict)
    replicates: tuple[ReplicateRecord, ...] = ()
    seeded: bool = False
    decisions: str = ""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The image that a job booted, and what it was made of."""

    profile: str
    id: str
    packages: tuple[ImageProvenance, ...]


@dataclass(frozen=True, slots=True)
class BootRecord:
    """One boot of the board: what came up. Its kernel and facts are the samples' covariates."""

    boot: int
    at: float
    kernel: str
    boot_s: float
    facts: Mapping[str, str]
    topology: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A step in a job's life and when it was taken."""

    at: float
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class ComplaintRecord:
    """A kernel complaint; ``nodeid`` and ``attempt`` name the test that was running, if any."""

    at: float
    pattern: str
    line: str
    nodeid: str
    attempt: int
    fatal: bool


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A file of the job; ``path`` is relative to the journal's folder."""

    name: str
    path: str
    sha256: str
    kind: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A run's part on one board, as its journal tells it.

    ``finished`` says whether the journal has its last event; ``ok`` and ``reason`` are that
    event's. ``effort`` says how long, how often and with which seed was tried. ``plan`` names the
    nightly plan that the run carried out; ``follows`` are the jobs whose tests a follow-up tries.
    ``problem`` names the first line of the journal that could not be read, and counts the others.
    """

    run: str
    job: str
    board: str
    board_type: str
    image: ImageRecord
    hardware: Mapping[str, str]
    farm_version: str
    argv: tuple[str, ...]
    effort: Effort
    plan: str
    purpose: Purpose
    follows: tuple[str, ...]
    controller: str
    boot_id: str
    pid: int
    started_at: float
    ended_at: float
    events: int
    finished: bool
    ok: bool
    reason: str
    problem: str
    journal: str
    boots: tuple[BootRecord, ...]
    states: tuple[StateRecord, ...]
    tests: tuple[TestRecord, ...]
    complaints: tuple[ComplaintRecord, ...]
    artifacts: tuple[ArtifactRecord, ...]

    def again(self, test: TestRecord) -> str:
        """Return the command that repeats a test of this job."""
        return again(
            test.nodeid,
            board=self.board,
            board_type=self.board_type,
            hardware=self.hardware,
            image=self.image.profile,
            argv=self.argv,
            effort=self.effort if test.seeded else None,
        )

    @property
    def final_tests(self) -> tuple[TestRecord, ...]:
        """One row per test: the attempt that counts, where it is one of this job's."""
        return tuple(test for test in self.tests if test.final)

    @property
    def first_reasons(self) -> tuple[str, ...]:
        """Why tests were tried twice: the reasons of first attempts that are not the last.

        Tests within a test are not counted: they were tried twice because it was.
        """
        twice = {one.nodeid for one in self.tests if one.attempt == 2 and WITHIN not in one.nodeid}
        first = (one for one in self.tests if one.attempt == 1 and one.nodeid in twice)
        return tuple(one.reason for one in first) if self.purpose is not Purpose.REPEAT else ()

    @property
    def errand(self) -> str:
        """What a follow-up is for: ``retry of virt-smmuv3-1``; empty for a first job."""
        return f"{self.purpose} of {', '.join(self.follows)}" if self.purpose else ""

    @property
    def exact(self) -> bool:
        """Whether the board does the same in every boot, so that its numbers have no noise."""
        return self.hardware.get("exact") == "yes"

    @property
    def kernel(self) -> str:
        """The kernel of the last boot, empty where the board never came up."""
        return self.boots[-1].kernel if self.boots else ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run with all its jobs, in the order in which they started."""

    id: str
    started_at: float
    jobs: tuple[JobRecord, ...]

    @property
    def parts(self) -> list[Part]:
        """The jobs as :mod:`farm.settling` takes them."""
        return [
            Part(
                job=job.job,
                purpose=job.purpose,
                follows=job.follows,
                ok=job.ok,
                verdicts={test.nodeid: test.verdict for test in job.tests},
            )
            for job in self.jobs
        ]

    @property
    def counting(self) -> tuple[JobRecord, ...]:
        """The jobs that count: no repeats, nor those that a retry made good altogether."""
        good = made_good(self.parts)
        return tuple(
            job
            for job in self.jobs
            if job.purpose is not Purpose.REPEAT
            and (job.final_tests or not (job.tests or job.job in good))
        )

    @property
    def ended_at(self) -> float:
        """When the last job's journal ends."""
        return max((job.ended_at for job in self.jobs), default=self.started_at)


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in a listing; ``verdicts`` counts the attempts that count, by board.

    ``ok`` says whether all of its jobs ended in order, or a retry of theirs did.
    """

    id: str
    started_at: float
    ended_at: float
    ok: bool
    verdicts: Mapping[str, Mapping[Verdict, int]]


@dataclass(frozen=True, slots=True)
class Point:
    """One run's value in a series: the median over ``replicates`` measured values."""

    run: str
    at: float
    value: float
    replicates: int
    kernel: str
