"""What a pytest run was told about its board: options, board type, image, where results go."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from farm import inventory
from farm.errors import FarmError
from farm.events import Effort
from farm.inventory import BoardType, ImageProfile
from farm.model import Device
from farm.run.job import draw_seed

_OURS = re.compile(r"^farm\s*:", re.MULTILINE)
_EFFORT = {
    "--farm-seed": "seed",
    "--farm-stress-seconds": "stress_s",
    "--farm-repeat": "repeat",
}


def add_options(parser: pytest.Parser) -> None:
    """Declare the ``--farm-*`` options."""
    group = parser.getgroup("farm", "board farm (in force with --lg-env of a board config)")
    add = group.addoption
    add("--farm-image", metavar="PROFILE", help="image profile that the board boots")
    add("--farm-out", metavar="DIR", help="folder for console, topology and journal")
    add("--farm-journal", metavar="FILE", help="journal to go on with, begun by 'farm run'")
    add("--farm-run", metavar="ID", help="run that a journal begun here belongs to")
    add("--farm-job", metavar="ID", help="job that a journal begun here belongs to")
    add("--farm-shard", metavar="N/OF", help="run only part N (from 0) of OF equal parts")
    add(
        "--farm-select",
        metavar="FILE",
        help="run only the tests whose ids the file lists, in its order",
    )
    add(
        "--farm-until",
        metavar="TIME",
        help="begin no further test at this time (seconds since the epoch)",
    )
    add(
        "--farm-requirement",
        metavar="ID",
        action="append",
        help="run only the tests of this requirement; repeat for several",
    )
    add("--farm-seed", metavar="N", help="what stress cases decide by (default: drawn and printed)")
    add("--farm-stress-seconds", metavar="N", help="how long each stress case goes on (default: 2)")
    add("--farm-repeat", metavar="N", help="replicates of each test (default: 1)")
    add(
        "--farm-no-cache",
        action="store_true",
        help="measure everything anew on exact boards (see docs/exact.md)",
    )
    add(
        "--farm-leave-on",
        action="store_true",
        help="leave the board switched on at the end, for a look at it",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is known before the board is touched.

    ``selected`` are the node ids to run, in this order; ``until`` is when no further test is begun,
    in seconds since the epoch.
    ``effort`` has a seed. ``shard`` is which part of how many to run; ``cached`` says whether
    answers that are known need not be measured again.
    ``journal`` is set where somebody else began it; ``out`` is where files go.
    """

    board_type: BoardType
    profile: ImageProfile
    devices: tuple[Device, ...]
    out: Path
    journal: Path | None
    run: str
    job: str
    selected: tuple[str, ...] | None
    until: float | None
    effort: Effort
    shard: tuple[int, int]
    leave_on: bool
    cached: bool

    @property
    def exact(self) -> bool:
        """Whether the board does the same in every boot."""
        return self.board_type.exact

    @property
    def seed(self) -> int:
        """What stress cases decide by."""
        assert self.effort.seed is not None, "read() has one drawn"
        return self.effort.seed


def board_config(config: pytest.Config) -> Path | None:
    """Return the board config that ``--lg-env`` or ``LG_ENV`` names, if it is one of ours."""
    named = config.getoption("lg_env", default=None) or os.environ.get("LG_ENV")
    if not named:
        return None
    path = Path(named)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None  # labgrid says what is wrong with it
    return path if _OURS.search(text) else None


def read(config: pytest.Config, path: Path) -> Settings:
    """Return the settings of a run on a board of the type that ``path`` describes.

    Raises:
        pytest.UsageError: a file or an option is wrong.
    """
    from farm.board.envfile import check_environment  # labgrid is slow to import

    option = config.getoption
    try:
        board_type = inventory.load_board_type(path)
        check_environment(path)
        profile = inventory.load_image_profile(option("farm_image") or board_type.image)
        devices = inventory.devices(board_type, profile)
        journal = Path(option("farm_journal")) if option("farm_journal") else None
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        named = option("farm_out")
        out = Path(named) if named else journal.parent if journal else Path("farm-results") / stamp
        return Settings(
            board_type=board_type.booting(profile),
            profile=profile,
            devices=devices,
            out=out.absolute(),
            journal=journal,
            run=option("farm_run") or stamp,
            job=option("farm_job") or "job-1",
            selected=_selected(option("farm_select")),
            until=_until(option("farm_until")),
            effort=_effort(option).seeded(draw_seed(exact=board_type.exact)),
            shard=_shard(option("farm_shard")),
            leave_on=bool(option("farm_leave_on")),
            cached=not option("farm_no_cache"),
        )
    except FarmError as error:
        raise usage_error(error) from error


def usage_error(error: FarmError) -> pytest.UsageError:
    """Return the error as pytest shows what its caller got wrong."""
    return pytest.UsageError(*([str(error), error.next_step] if error.next_step else [str(error)]))


def _effort(option: Callable[[str], str | None]) -> Effort:
    """Return what the options say, checked one by one so that the error names the option."""
    found = Effort()
    for flag, name in _EFFORT.items():
        text = option(flag.removeprefix("--").replace("-", "_"))
        if text is None:
            continue
        try:
            found = Effort.model_validate({**found.model_dump(), name: text})
        except ValidationError as error:
            said = error.errors()[0]["msg"]
            raise pytest.UsageError(f"{flag}: found {text!r}: {said}") from error
    return found


def _shard(text: str | None) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text or "0/1")
    if match is None or int(match[1]) >= int(match[2]):
        raise pytest.UsageError(f"--farm-shard: found {text!r}, expected N/OF with N below OF")
    return int(match[1]), int(match[2])


def _until(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise pytest.UsageError(f"--farm-until: found {text!r}, expected seconds") from None


def _selected(name: str | None) -> tuple[str, ...] | None:
    if not name:
        return None
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"--farm-select: {name} cannot be read: {error}") from error
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
