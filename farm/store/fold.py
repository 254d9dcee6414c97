"""From a journal to what it says: a pure fold over its events."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from farm.errors import JournalError
from farm.events import (
    Artifact,
    BoardReady,
    CaseBlamed,
    CaseFinished,
    CaseStarted,
    Complaint,
    Damage,
    Event,
    JobFinished,
    JobResumed,
    JobStarted,
    Key,
    Placed,
    Plan,
    StateChanged,
    encode,
    read_journal,
)
from farm.model import Absent, ImageProvenance, Verdict, amount
from farm.store.records import (
    ArtifactRecord,
    BootRecord,
    Cell,
    ComplaintRecord,
    ImageRecord,
    JobRecord,
    ReplicateRecord,
    SampleRecord,
    StateRecord,
    TestRecord,
)
from farm.store.series import SeriesKeys

MAX_TEXT = 4096
"""Characters that are kept of one text: a reason, a line, a fact."""

MAX_CONSOLE_LINES = 400
"""Console lines that are kept of one case: the last ones."""

MAX_DEPTH = 8
"""Levels that are kept of a board's topology."""

RUNNING = "the run ended while this case was running"
"""Reason of a case that started and whose end the journal does not hold."""

UNREAD = "no end of this case is in what can be read"
"""Reason of such a case where part of the journal cannot be read; which part follows."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A journal's content; ``head`` is the hash of its first event and names the journal."""

    job: JobRecord
    head: str


def fold_journal(path: Path) -> Folded:
    """Return what a journal holds, as far as it can be read.

    A line that cannot be read is left out; ``job.problem`` then says which and why, and how many
    there are.

    Raises:
        JournalError: the first event cannot be read, or is not ``job_started``.
    """
    damage = Damage()
    events = read_journal(path, damage)
    start = next(events, None)
    if damage.first or not isinstance(start, JobStarted):
        raise _no_journal(path, start, damage)
    fold = _Fold(start, str(path.absolute()))
    for event in events:
        fold.add(event)
    return fold.result(str(damage))


def _no_journal(path: Path, start: Event | None, damage: Damage) -> JournalError:
    """Return why a file whose first event is not the start of a job cannot be taken."""
    if damage.first and damage.first.next_step:
        return damage.first
    if start is None and not damage.first:
        return JournalError(
            f"{path}: no whole event in it",
            next_step="the job ended before it began to record; there is nothing to restore",
        )
    seen = f"{start.type!r}" if start and not damage.first else "something else"
    return JournalError(
        f"{path}:1: not a job's journal: starts with {seen}, expected a 'job_started' event",
        next_step="give a journal.jsonl, or the folder of a run",
    )


@dataclass(slots=True)
class _Attempt:
    """What is known of one attempt of a test while the journal is read.

    ``cut`` is the reason of a replicate that started and has no end.
    """

    started_at: float = 0.0
    boot: int = 0
    begun: int = 0
    ends: dict[int, CaseFinished] = field(default_factory=dict)
    cut: str = RUNNING

    @property
    def finishes(self) -> list[CaseFinished]:
        """What is known of the replicates that ended, in their order."""
        return [self.ends[number] for number in sorted(self.ends)]

    @property
    def replicates(self) -> tuple[ReplicateRecord, ...]:
        """What became of each replicate that began or ended."""
        return tuple(
            ReplicateRecord(end.verdict, _text(end.reason), end.duration_s)
            if (end := self.ends.get(number))
            else ReplicateRecord(Verdict.INFRA, self.cut, 0.0)
            for number in sorted({*range(self.begun), *self.ends})
        )

    @property
    def verdict(self) -> tuple[Verdict, str]:
        """What the replicates amount to, and why."""
        return amount([(one.verdict, one.reason) for one in self.replicates])

    @property
    def telling(self) -> CaseFinished | None:
        """The replicate whose evidence stands for all: the first with their verdict."""
        alike = (one for one in self.finishes if one.verdict is self.verdict[0])
        return next(alike, self.finishes[-1] if self.ends else None)


@dataclass(slots=True)
class _Fold:
    start: JobStarted
    journal: str
    plan: dict[str, Key] = field(default_factory=dict)
    attempts: dict[str, dict[int, _Attempt]] = field(default_factory=dict)
    boots: dict[int, BootRecord] = field(default_factory=dict)
    states: list[StateRecord] = field(default_factory=list)
    complaints: list[ComplaintRecord] = field(default_factory=list)
    artifacts: dict[str, ArtifactRecord] = field(default_factory=dict)
    placed: JobStarted | None = None
    end: JobFinished | None = None
    events: int = 1
    last_t: float = 0.0
    boot: int = 0

    def add(self, event: Event) -> None:
        self.events += 1
        self.last_t = max(self.last_t, event.t)
        match event:
            case Plan():
                self.plan.update((_text(key.nodeid), key) for key in event.tests)
            case StateChanged():
                self.states.append(StateRecord(event.t, _text(event.state), _text(event.detail)))
            case Placed():
                told = {"board": event.board, "image": event.image, "hardware": event.hardware}
                self.placed = self.start.model_copy(update=told)
            case BoardReady():
                self._ready(event)
            case CaseStarted():
                attempt = self._attempt(event.nodeid, event.attempt)
                if event.replicate == 0:
                    attempt.started_at, attempt.boot = event.t, self.boot
                attempt.begun = event.replicate + 1
            case CaseFinished():
                self._attempt(event.nodeid, event.attempt).ends[event.replicate] = event
            case CaseBlamed():
                self._blame(event)
            case Complaint():
                self._complaint(event)
            case Artifact():
                # A job that was resumed tells of a file again once it has grown.
                self.artifacts[event.path] = ArtifactRecord(
                    *map(_text, (event.name, event.path, event.sha256, event.kind))
                )
            case JobFinished():
                self.end = event
            case JobResumed():
                self.end = None
            case JobStarted():
                pass  # the first event, and no other

    def _ready(self, event: BoardReady) -> None:
        self.boot = event.boot
        self.boots[event.boot] = BootRecord(
            event.boot,
            event.t,
            _text(event.kernel),
            event.boot_s,
            _texts(event.facts),
            _clean(event.topology),
        )

    def _attempt(self, nodeid: str, number: int) -> _Attempt:
        attempts = self.attempts.setdefault(_text(nodeid), {})
        return attempts.setdefault(number, _Attempt(boot=self.boot))

    def _blame(self, event: CaseBlamed) -> None:
        ends = self._attempt(event.nodeid, event.attempt).ends
        if ends:
            last = max(ends)
            blamed = {"verdict": Verdict.FAIL, "reason": event.reason}
            console = event.console or ends[last].console
            ends[last] = ends[last].model_copy(update={**blamed, "console": console})

    def _complaint(self, event: Complaint) -> None:
        self.complaints.append(
            ComplaintRecord(
                event.t,
                _text(event.pattern),
                _text(event.line),
                _text(event.nodeid),
                max(self.attempts.get(event.nodeid, {0: None})),
                event.fatal,
            )
        )

    def result(self, problem: str) -> Folded:
        start = self.placed or self.start
        if problem:
            for attempt in (
                one for attempts in self.attempts.values() for one in attempts.values()
            ):
                attempt.cut = f"{UNREAD}: {problem}"
        image = ImageRecord(
            _text(start.image.profile),
            _text(start.image.id),
            _packages(start),
        )
        job = JobRecord(
            run=_text(start.run),
            job=_text(start.job),
            board=_text(start.board),
            board_type=_text(start.board_type),
            image=image,
            hardware=_texts(start.hardware),
            farm_version=_text(start.farm_version),
            argv=tuple(map(_text, start.argv)),
            effort=start.effort,
            plan=_text(start.plan),
            purpose=start.purpose,
            follows=tuple(map(_text, start.follows)),
            controller=_text(start.controller),
            boot_id=_text(start.boot_id),
            pid=start.pid,
            started_at=start.t,
            ended_at=max(self.last_t, start.t),
            events=self.events,
            finished=self.end is not None,
            ok=self.end is not None and self.end.ok and not problem,
            reason=_text(self.end.reason) if self.end else "",
            problem=_text(problem),
            journal=self.journal,
            boots=tuple(self.boots[number] for number in sorted(self.boots)),
            states=tuple(self.states),
            tests=(),
            complaints=tuple(self.complaints),
            artifacts=tuple(self.artifacts.values()),
        )
        head = hashlib.sha256(encode(self.start).encode()).hexdigest()
        return Folded(replace(job, tests=tuple(self._tests(job))), head)

    def _trouble(self) -> str:
        """Return why the last test that met trouble of board or lab did."""
        ends = [attempts[max(attempts)].telling for attempts in self.attempts.values()]
        met = [end for end in ends if end is not None and end.verdict is Verdict.INFRA]
        return max(met, key=lambda end: end.seq).reason if met else ""

    def _tests(self, job: JobRecord) -> Iterable[TestRecord]:
        unplanned = {nodeid: _key_of(nodeid) for nodeid in self.attempts if nodeid not in self.plan}
        missed = _missed(job, self._trouble())
        for nodeid, key in (self.plan | unplanned).items():
            attempts = self.attempts.get(nodeid)
            if not attempts:
                yield _record(job, key, 1, True, _Attempt(), Verdict.MISS, missed)
                continue
            last = max(attempts)
            for number in sorted(attempts):
                attempt = attempts[number]
                yield _record(job, key, number, number == last, attempt, *attempt.verdict)


def _missed(job: JobRecord, trouble: str) -> str:
    why = job.reason or trouble
    if job.problem:
        return "; ".join(filter(None, (f"no record that it ran: {job.problem}", why)))
    if why:
        return f"never ran: {why}"
    return "never ran" if job.finished else "never ran: the run ended before it"


def _record(
    job: JobRecord,
    key: Key,
    number: int,
    final: bool,
    attempt: _Attempt,
    verdict: Verdict,
    reason: str,
) -> TestRecord:
    finish, finishes, replicates = attempt.telling, attempt.finishes, attempt.replicates
    params = _texts(key.params)
    case_hash = next((_text(one.case_hash) for one in finishes if one.case_hash), "")
    absent = {
        _text(one.counter): Absent(_text(one.counter), _text(one.reason))
        for end in finishes
        for one in end.absent
    }
    identity = (job, key.case or key.test, case_hash, params)
    return TestRecord(
        nodeid=_text(key.nodeid),
        attempt=number,
        final=final,
        suite=_text(key.suite),
        test=_text(key.test),
        case=_text(key.case),
        case_hash=case_hash,
        params=params,
        requirements=tuple(map(_text, key.requirements)),
        verdict=verdict,
        reason=_text(reason),
        duration_s=sum(one.duration_s for one in replicates),
        started_at=attempt.started_at,
        boot=attempt.boot,
        console=tuple(map(_text, finish.console[-MAX_CONSOLE_LINES:])) if finish else (),
        cell=_cell(finish.cell) if finish and finish.cell else None,
        samples=tuple(_samples(finishes, *identity)),
        absent=tuple(absent.values()),
        observed=_texts(finish.observed) if finish else {},
        replicates=replicates if len(replicates) > 1 else (),
        seeded=any(one.seeded for one in finishes),
        decisions=_text(finish.decisions) if finish else "",
    )


def _samples(
    finishes: Iterable[CaseFinished],
    job: JobRecord,
    case: str,
    case_hash: str,
    case_params: Mapping[str, str],
) -> Iterable[SampleRecord]:
    """Yield the samples; one that repeats another's key becomes its next replicate."""
    taken: set[tuple[str, int]] = set()
    keys = SeriesKeys(
        board_type=job.board_type,
        hardware=job.hardware,
        case=case,
        case_hash=case_hash,
        case_params=case_params,
    )
    for end, sample in ((one, sample) for one in finishes for sample in one.samples):
        params = _texts(sample.params)
        metric = _text(sample.metric)
        key = keys.key(params, metric)
        replicate = end.replicate + sample.replicate
        while (key, replicate) in taken:
            replicate += 1
        taken.add((key, replicate))
        yield SampleRecord(key, metric, sample.value, _text(sample.unit), params, replicate)


def _packages(start: JobStarted) -> tuple[ImageProvenance, ...]:
    rows = [
        ImageProvenance(*map(_text, (one.package, one.version, one.architecture, one.sha256)))
        for one in start.image.packages
    ]
    unique = {(row.package, row.architecture, row.version): row for row in rows}
    return tuple(unique[key] for key in sorted(unique))


def _cell(cell: Mapping[str, str]) -> Cell:
    return Cell(
        *(_text(cell.get(name, "")) for name in ("exporter", "importer", "outcome", "errno"))
    )


def _key_of(nodeid: str) -> Key:
    """Return a key for a test that no plan names, from its nodeid alone."""
    module, _, name = nodeid.partition("::")
    suite, _, _ = module.rpartition("/")
    return Key(nodeid=nodeid, suite=suite, test=name.partition("[")[0] or nodeid)


def _text(text: str) -> str:
    """Return the text as a database takes it: bounded, and without NUL."""
    kept = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return kept.replace("\x00", "\\x00")


def _texts(mapping: Mapping[str, str]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in mapping.items()}


def _clean(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a JSON value with every text in it cleaned, every number finite, not too deep."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict | list) and not depth:
        return "…"
    if isinstance(value, dict):
        return {_text(str(name)): _clean(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
