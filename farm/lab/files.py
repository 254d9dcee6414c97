"""What a virtual lab keeps in files: what it is to be, and what it is.

``lab.json`` in the lab's folder is written whole or not at all and fsynced before anything that it
announces is done, so that ``down`` finds every process after any crash.
"""

from __future__ import annotations

import re
import shutil
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm import paths
from farm.errors import LabError, UsageError
from farm.lab import durable
from farm.lab.faults import HEALTHY

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LARGEST = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BoardSpec(_Frozen):
    """One virtual board: its place, what its place is tagged with, and what QEMU is told to be.

    Without ``firmware``, QEMU itself loads the kernel; else the firmware does, by TFTP, or from a
    ``disk``. ``fault`` is what :meth:`farm.lab.faults.Injected.parse` reads.
    """

    place: str
    board_type: str
    image: str
    image_id: str
    tags: dict[str, str]
    kernel: Path
    initrd: Path
    machine: str
    cpu: str
    smp: int
    memory_mib: int
    devices: tuple[str, ...]
    append: str
    firmware: Path | None = None
    disk: bool = False
    exact: bool = False
    fault: str = str(HEALTHY)


class RackSpec(_Frozen):
    """What a rack is to offer; QEMU's logs go to ``folder``."""

    folder: Path
    boards: tuple[BoardSpec, ...]


class Outlets(_Frozen):
    """Where a running rack answers: one HTTP port, and per board a serial and an SSH port."""

    http: int
    serial: tuple[int, ...]
    ssh: tuple[int, ...]


class Process(_Frozen):
    """A process of the lab; ``started`` is its start time in clock ticks since boot.

    ``role`` is ``supervisor``, ``coordinator``, ``rack`` or ``exporter``, or ``starter`` for who
    starts the lab and does not belong to it.
    """

    role: str
    pid: int
    started: int


class LabState(StrEnum):
    """Where a virtual lab is in its life."""

    STARTING = "starting"
    UP = "up"
    FAILED = "failed"


class LabRecord(_Frozen):
    """What ``lab.json`` says; ``temporary`` labs end with the process that started them."""

    v: int = 1
    name: str
    state: LabState
    temporary: bool
    boot_id: str
    created: float
    reason: str = ""
    coordinator: str = ""
    processes: tuple[Process, ...] = ()
    boards: tuple[BoardSpec, ...] = ()
    outlets: Outlets | None = Field(default=None)


def labs_dir() -> Path:
    """Return the folder that holds one folder per virtual lab of this machine."""
    made = paths.state_dir() / "labs"
    made.mkdir(parents=True, exist_ok=True)
    return made


def folder(name: str) -> Path:
    """Return a lab's folder, whether it exists or not.

    Raises:
        UsageError: the name is none that a lab can have.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"lab name {name!r}: expected lower-case letters, digits and '-', 32 at most"
        )
    return labs_dir() / name


def save(record: LabRecord) -> None:
    """Write a lab's record so that it is whole or absent, also after a power cut."""
    durable.write(folder(record.name) / "lab.json", record.model_dump_json(indent=1) + "\n")


def load(name: str) -> LabRecord | None:
    """Return what is recorded of a lab, or nothing if there is no such lab.

    Raises:
        LabError: the record cannot be read.
    """
    path = folder(name) / "lab.json"
    try:
        with path.open("rb") as stream:
            return LabRecord.model_validate_json(stream.read(_LARGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise LabError(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            next_step=f"end what is left of the lab by hand, then remove {path.parent}",
        ) from error


def forget(name: str) -> None:
    """Remove a lab's folder."""
    shutil.rmtree(folder(name), ignore_errors=True)


def names() -> list[str]:
    """Return the names of all recorded labs."""
    return sorted(path.parent.name for path in labs_dir().glob("*/lab.json"))
