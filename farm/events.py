"""Journal events and their JSON-lines codec: the one place where execution and results meet.

A journal is one append-only file per job. Each line is one event as a JSON object with ``v`` (the
format's version), ``seq`` (0, 1, 2 … without a gap), ``t`` (wall-clock seconds since the epoch) and
``type``. The last line may be cut short by a crash; every line before it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from farm.errors import JournalError
from farm.model import Purpose, TestKey, Verdict

FORMAT_VERSION = 1
MAX_LINE = 4 << 20
"""Longest journal line that is read, in bytes."""

Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""An integer that any database holds."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    seq: Number = 0
    t: float = Field(default=0.0, ge=0.0)


class Key(BaseModel):
    """A :class:`farm.model.TestKey` on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodeid: str
    suite: str
    test: str
    case: str = ""
    params: dict[str, str] = {}
    requirements: list[str] = []

    @classmethod
    def of(cls, key: TestKey) -> Key:
        """Return the wire form of a key."""
        return cls(
            nodeid=key.nodeid,
            suite=key.suite,
            test=key.test,
            case=key.case,
            params=dict(key.params),
            requirements=list(key.requirements),
        )


class Package(BaseModel):
    """One package that an image was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    version: str
    architecture: str
    sha256: str


class ImageInfo(BaseModel):
    """Which image the board boots. ``id`` is the content hash that names it in the cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str
    id: str = ""
    packages: list[Package] = []


MAX_SEED = 2**31 - 1
MAX_STRESS_S = 3000.0
"""Seconds that one stress case may be asked for: the payload's longest limit is an hour."""
MAX_REPEAT = 1000


class Effort(BaseModel):
    """How long, how often, and with which random decisions tests are to try.

    ``seed`` decides what stress cases do, None where nobody chose one yet; ``stress_s`` is how many
    seconds each of them goes on; ``repeat`` is how many replicates of each test there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    stress_s: float = Field(default=2.0, gt=0.0, le=MAX_STRESS_S)
    repeat: int = Field(default=1, ge=1, le=MAX_REPEAT)

    def seeded(self, seed: int) -> Effort:
        """Return the same with this seed, unless one was chosen."""
        return self if self.seed is not None else self.model_copy(update={"seed": seed})


class JobStarted(_Event):
    """First event of every journal: what is to run, where, and for which run.

    ``boot_id`` is the controller's /proc/sys/kernel/random/boot_id; ``hardware`` identifies the
    hardware for series (revision, firmware; emulator and its version for virtual boards).
    ``plan`` names the nightly plan that the run carries out, ``follows`` the jobs whose tests a
    follow-up tries again.
    """

    type: Literal["job_started"] = "job_started"
    run: str
    job: str
    board: str
    board_type: str
    image: ImageInfo
    hardware: dict[str, str] = {}
    farm_version: str = ""
    argv: list[str] = []
    effort: Effort = Effort()
    plan: str = ""
    purpose: Purpose = Purpose.FIRST
    follows: list[str] = []
    controller: str = ""
    boot_id: str = ""
    pid: Number = 0


class JobResumed(_Event):
    """Another worker goes on with the job, since its controller had died; see :class:`JobStarted`.

    Tests that have their verdict keep it; attempts and boots are counted on.
    """

    type: Literal["job_resumed"] = "job_resumed"
    farm_version: str = ""
    controller: str = ""
    boot_id: str = ""
    pid: Number = 0


class Plan(_Event):
    """Every test that was collected for this job, in order; what never runs is MISS.

    Further plans name what was found meanwhile: the tests within a test.
    """

    type: Literal["plan"] = "plan"
    tests: list[Key]


class StateChanged(_Event):
    """The job moves on: ``waiting leased booting ready running rebooting off released``."""

    type: Literal["state"] = "state"
    state: str
    detail: str = ""


class Placed(_Event):
    """The job has its board, one of several that would have done.

    What :class:`JobStarted` said of the board was who it had in mind.
    """

    type: Literal["placed"] = "placed"
    board: str
    image: ImageInfo
    hardware: dict[str, str] = {}


class BoardReady(_Event):
    """A board came up: what it is. ``facts`` are strings (kernel, machine, cmdline …)."""

    type: Literal["board_ready"] = "board_ready"
    boot: Number
    kernel: str
    boot_s: float
    facts: dict[str, str] = {}
    topology: dict[str, Any] = {}


class CaseStarted(_Event):
    """A test with its parameters begins; ``attempt`` counts from 1, its ``replicate`` from 0."""

    type: Literal["case_started"] = "case_started"
    nodeid: str
    attempt: Number = Field(default=1, ge=1)
    replicate: Number = 0


class SampleEvent(BaseModel):
    """One sample on the wire; its value is finite.

    ``replicate`` counts from the one of the event; journals of before had several in one event.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float = Field(allow_inf_nan=False)
    unit: str
    params: dict[str, str] = {}
    replicate: Number = 0


class AbsentEvent(BaseModel):
    """One absent counter on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: str
    reason: str


class CaseFinished(_Event):
    """A replicate of a test ended.

    ``case_hash`` is the payload case's source hash with the harness's version. ``seeded`` says that
    the test took the job's seed for its decisions; ``decisions`` is the digest of them, as far as
    its case told one.

    ``console`` holds the last console lines of the case where the verdict wants explaining;
    ``cell`` is set by sharing-matrix tests: exporter, importer, outcome (``shared``, ``taken``,
    ``refused``, ``wrong``), errno. ``observed`` is what a NEW verdict saw and could be accepted as
    (``farm/pytest_plugin/acceptance.py``). ``cached`` says that an exact board's answers were known
    and not measured again.
    """

    type: Literal["case_finished"] = "case_finished"
    nodeid: str
    attempt: Number = Field(default=1, ge=1)
    replicate: Number = 0
    verdict: Verdict
    reason: str = ""
    duration_s: float = Field(default=0.0, ge=0.0)
    case_hash: str = ""
    samples: list[SampleEvent] = []
    absent: list[AbsentEvent] = []
    console: list[str] = []
    cell: dict[str, str] = {}
    observed: dict[str, str] = {}
    cached: bool = False
    seeded: bool = False
    decisions: str = ""


class CaseBlamed(_Event):
    """A test that had ended is a FAIL after all: what its last replicate did showed only later.

    ``reason`` says what was seen, and when; ``console`` are lines that go with it.
    """

    type: Literal["case_blamed"] = "case_blamed"
    nodeid: str
    attempt: Number = Field(default=1, ge=1)
    reason: str
    console: list[str] = []


class Complaint(_Event):
    """The kernel complained on the console or in dmesg; ``nodeid`` is the test that gets the blame.

    That is the one that was running, or that had just ended.
    """

    type: Literal["complaint"] = "complaint"
    pattern: str
    line: str
    nodeid: str = ""
    fatal: bool = False


class Artifact(_Event):
    """A file of the job; ``path`` is relative to the journal's folder."""

    type: Literal["artifact"] = "artifact"
    name: str
    path: str
    sha256: str
    kind: str = "log"


class JobFinished(_Event):
    """Last event of a job that ended in order. ``reason`` says why it ended early, if it did.

    ``orphaned`` where that was because its controller had died: it may be resumed. ``lost`` where
    board, lab or worker was lost: what it left open may be tried in another job. Who ends a job on
    purpose (a user, a time box, a driver under test that does not load) has not lost it.
    """

    type: Literal["job_finished"] = "job_finished"
    ok: bool = True
    reason: str = ""
    orphaned: bool = False
    lost: bool = False


Event = Annotated[
    JobStarted
    | JobResumed
    | Plan
    | StateChanged
    | Placed
    | BoardReady
    | CaseStarted
    | CaseFinished
    | CaseBlamed
    | Complaint
    | Artifact
    | JobFinished,
    Field(discriminator="type"),
]

_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def encode(event: Event) -> str:
    """Return the event as one line of JSON without its newline."""
    return event.model_dump_json()


def decode(line: str | bytes, *, where: str = "journal") -> Event:
    """Return the event that a line holds.

    Raises:
        JournalError: the line is no event; the message starts with ``where``.
    """
    try:
        return _adapter.validate_json(line)
    except ValidationError as error:
        if (version := _version(line)) > FORMAT_VERSION:
            raise JournalError(
                f"{where}: written in journal format {version}; this farm reads {FORMAT_VERSION}",
                next_step="a newer farm wrote it: read it with that one",
            ) from error
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        place = f" at {at!r}" if at else ""
        raise JournalError(f"{where}: not a journal event: {first['msg']}{place}") from error


def _version(line: str | bytes) -> int:
    """Return the format that a line says it is written in, 0 where it says none."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return 0
    version = said.get("v") if isinstance(said, dict) else None
    return version if type(version) is int else 0


@dataclass(slots=True)
class Damage:
    """What of a journal could not be read; ``count`` lines or gaps, the ``first`` of them told."""

    first: JournalError | None = None
    count: int = 0

    def add(self, error: JournalError) -> None:
        """Note that something could not be read."""
        self.first = self.first or error
        self.count += 1

    def __str__(self) -> str:
        """Return where it begins and how much it is; empty where all could be read."""
        more = f" (and {self.count - 1} more like it)" if self.count > 1 else ""
        return f"{self.first}{more}" if self.first else ""


def read_journal(path: Path, damage: Damage | None = None) -> Iterator[Event]:
    """Yield a journal's events; a last line that a crash cut short is left out.

    With ``damage``, a line that cannot be read and a gap in ``seq`` are noted there, and reading
    goes on behind them; it ends where another job starts.

    Raises:
        JournalError: the file cannot be read; without ``damage`` also if a whole line is not an
            event, ``seq`` has a gap, or another job starts.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise JournalError(
            f"{path}: cannot be read: {error.strerror}",
            next_step="give a journal.jsonl, or the folder of a run",
        ) from error
    note = _raise if damage is None else damage.add
    with stream:
        expected = 0
        unread = 0
        number = 0
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}:{number}"
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE:
                    note(JournalError(f"{where}: line of more than {MAX_LINE} bytes"))
                return
            try:
                event = decode(line, where=where)
            except JournalError as error:
                note(error)
                unread += 1
                continue
            if expected and isinstance(event, JobStarted):
                note(JournalError(f"{where}: starts another job"))
                return
            if not expected <= event.seq <= expected + unread:
                note(JournalError(f"{where}: event {event.seq} where {expected} was expected"))
            expected = event.seq + 1
            unread = 0
            yield event


def _raise(error: JournalError) -> None:
    raise error


def to_json(value: Any) -> str:
    """Return ``value`` as compact JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
