"""What one job is to do: the file that the orchestrator hands to a worker."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm.errors import ConfigError
from farm.events import MAX_SEED, Effort, ImageInfo
from farm.lab import durable
from farm.lab.wanted import Wanted
from farm.model import Purpose

JOURNAL = "journal.jsonl"
WORKER_LOG = "worker.log"
SPEC = "job.json"
SELECT = "select.txt"
LOCK = "job.lock"

EXACT_SEED = 1
"""The seed of exact boards: their numbers must not move because another one was drawn."""

LATE = 6
"""Exit code of pytest where it began no further test because the time was up; 0 to 5 are its own.
"""

TIME_BOX = "the time box ended"
"""Why tests never ran that there was no time left for."""

STOPPED = "stopped by the user"
"""Why a job ended that a user ended."""

TAKEN = 70
"""Exit code of a worker whose board somebody else holds now."""

UNWRITABLE = 71
"""Exit code of a worker that could not write its journal."""

STOP_S = 120.0
"""How long a worker may take to end in order once it was asked to, or its controller has died."""


class Reserved(BaseModel):
    """A place that an identity has reserved or acquired, by a reservation's token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    token: str


class JobSpec(BaseModel):
    """One board's part of a run.

    ``suites`` are paths below ``testsuites/``; ``select`` limits the job to these pytest node ids
    (None: all that the suites hold), in this order; ``until`` is when no further test is begun, in
    seconds since the epoch; ``wait_s`` is how long to wait for a board that is held.
    ``effort`` has a seed. ``shard`` of ``shards`` is the part of the tests that is this job's,
    where boards of an exact type share them; ``cached`` lets an exact board's answers come from the
    cache. The job is ``owner``'s, waits with ``priority`` and may hold its board for ``expected_s``
    seconds, 0 where nobody knows. Until a board is leased ``wanted`` says which will do, where it
    is not only ``board``; ``reserved`` is who has it set aside already.
    ``plan``, ``purpose`` and ``follows`` are as in :class:`farm.events.JobStarted`.
    ``resumes`` counts how often the job was gone on with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    job: str
    coordinator: str
    board: str
    board_type: str
    config: Path
    image: ImageInfo
    hardware: dict[str, str] = {}
    suites: list[str] = []
    select: list[str] | None = None
    folder: Path
    wait_s: float = 0.0
    effort: Effort = Effort()
    shard: int = 0
    shards: int = 1
    cached: bool = True
    plan: str = ""
    purpose: Purpose = Purpose.FIRST
    follows: list[str] = []
    until: float | None = Field(default=None, gt=0.0)
    argv: list[str] = []
    resumes: int = 0
    owner: str = ""
    priority: float = 0.0
    expected_s: float = 0.0
    wanted: Wanted | None = None
    reserved: Reserved | None = None

    def on(self, board: str, image: ImageInfo, hardware: dict[str, str]) -> JobSpec:
        """Return the job as it is once its board is known."""
        found = {"board": board, "image": image, "hardware": hardware, "wanted": None}
        return self.model_copy(update=found)

    @property
    def journal(self) -> Path:
        """The job's journal."""
        return self.folder / JOURNAL

    @property
    def worker_log(self) -> Path:
        """What the worker, pytest and labgrid print."""
        return self.folder / WORKER_LOG

    @property
    def select_file(self) -> Path:
        """The node ids that the job is limited to, one a line."""
        return self.folder / SELECT

    @property
    def lock_file(self) -> Path:
        """What the job's worker and its keeper hold locked while they live."""
        return self.folder / LOCK

    def save(self) -> Path:
        """Write the specification (and what it selects) into the job's folder; return its path.

        Raises:
            OSError: there is no room, or the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.select is not None:
            lines = "".join(f"{nodeid}\n" for nodeid in self.select)
            durable.write(self.select_file, lines)
        path = self.folder / SPEC
        durable.write(path, self.model_dump_json(indent=1))
        return path

    @classmethod
    def load(cls, path: Path) -> JobSpec:
        """Read a specification.

        Raises:
            ConfigError: the file cannot be read or is no specification.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}:0: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}:0: no job: {first['msg']} at {at!r}") from error


def new_run_id(now: float | None = None) -> str:
    """Return a run id that sorts by time: ``20261121-081502-x3f9`` (UTC)."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(time.time() if now is None else now))
    return f"{stamp}-{secrets.token_hex(2)}"


def draw_seed(*, exact: bool) -> int:
    """Return a seed for who chose none; on exact boards always the same one."""
    return EXACT_SEED if exact else secrets.randbelow(MAX_SEED) + 1
