"""Where files live: the project's own folders, and the XDG folders for caches, data and state."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from farm.errors import UsageError

_APP = "farm"


def project_root() -> Path:
    """Return the folder that holds ``board-configs/`` and ``testsuites/``.

    ``FARM_ROOT`` wins; then the current folder or a parent of it; then the checkout that this
    package was installed from.

    Raises:
        UsageError: none of them holds both folders.
    """
    chosen = os.environ.get("FARM_ROOT")
    here = Path.cwd()
    candidates = (
        [Path(chosen)] if chosen else [here, *here.parents, Path(__file__).resolve().parent.parent]
    )
    for folder in candidates:
        if (folder / "board-configs").is_dir() and (folder / "testsuites").is_dir():
            return folder.resolve()
    raise UsageError(
        f"no project found: neither {candidates[0]} nor its parents hold board-configs/ and "
        "testsuites/",
        next_step="change into a checkout of the project, or set FARM_ROOT to one",
    )


def board_configs() -> Path:
    """Return the folder of board configs."""
    return project_root() / "board-configs"


def image_profiles() -> Path:
    """Return the folder of image profiles."""
    return board_configs() / "images"


def testsuites() -> Path:
    """Return the folder of suites."""
    return project_root() / "testsuites"


def plans() -> Path:
    """Return the folder of nightly plans; it may not exist."""
    return project_root() / "reports" / "plans"


def cache_dir() -> Path:
    """Return the cache folder (images, packages, payloads): safe to delete at any time."""
    return _made(platformdirs.user_cache_path(_APP))


def answers_dir() -> Path:
    """Return the folder of what exact boards answered, part of the cache; it may not exist."""
    return cache_dir() / "exact"


def data_dir() -> Path:
    """Return the data folder: the store, and the runs' journals and logs."""
    return _made(platformdirs.user_data_path(_APP))


def runs_dir() -> Path:
    """Return the folder that holds one folder per run."""
    return _made(data_dir() / "runs")


def state_dir() -> Path:
    """Return the folder for what must survive a crash: labs that are up, leases held."""
    return _made(platformdirs.user_state_path(_APP))


@contextlib.contextmanager
def working_folder(folder: Path) -> Iterator[None]:
    """Make a folder the current one for the time being."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
