"""Settings from ``farm.toml``, below flags and ``FARM_*`` variables and above the defaults.

The file is ``farm.toml`` in the current folder, else in the project's. A key gives its value to
every command that has an option of that name.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from farm import paths
from farm.errors import UsageError
from farm.tomlfile import TomlFile
from farm.yamlfile import nearest

KEYS = {
    "coordinator": "host:port of the labgrid coordinator",
    "db": "where results are kept: a file, or an SQLAlchemy URL",
    "image": "image profile that virtual boards boot",
    "seed": "what stress cases decide by",
    "stress_seconds": "how long each stress case goes on",
    "repeat": "replicates of each test",
    "smtp": "mail server that tells of a night: smtp+starttls://host:port",
    "smtp_user": "user of the mail server; its password is never a setting",
    "smtp_from": "address that mails come from",
}
"""Every key that the file may have."""

NUMBERS = frozenset({"seed", "stress_seconds", "repeat"})
"""Keys whose values are numbers; all others are text."""

FILE = "farm.toml"


def find() -> Path | None:
    """Return the settings file, if there is one."""
    candidates = [Path.cwd() / FILE]
    with contextlib.suppress(UsageError):  # outside a project there is only the current folder
        candidates.append(paths.project_root() / FILE)
    return next((path for path in candidates if path.is_file()), None)


def load(path: Path) -> dict[str, str | float]:
    """Return the settings of a file.

    Raises:
        ConfigError: it is no TOML, has an unknown key, or a value of the wrong kind.
    """
    file = TomlFile(path)
    for key, value in file.data.items():
        if key not in KEYS:
            raise file.error(
                key,
                f"unknown setting{nearest(key, set(KEYS))}",
                next_step=f"settings are: {', '.join(sorted(KEYS))}",
            )
        if key in NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise file.error(key, f"expected a number, seen {value!r}")
        elif not isinstance(value, str):
            raise file.error(key, f"expected text in quotes, seen {value!r}")
    return file.data
