"""Settings from ``farm.toml``, below flags and ``FARM_*`` variables and above the defaults.

The file is ``farm.toml`` in the current folder, else in the project's. A key gives its value to
every command that has an option of that name.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import tomllib
from pathlib import Path

from farm import paths
from farm.errors import ConfigError, UsageError

KEYS = {
    "coordinator": "host:port of the labgrid coordinator",
    "db": "where results are kept: a file, or an SQLAlchemy URL",
    "image": "image profile that virtual boards boot",
}
"""Every key that the file may have."""

FILE = "farm.toml"


def find() -> Path | None:
    """Return the settings file, if there is one."""
    candidates = [Path.cwd() / FILE]
    with contextlib.suppress(UsageError):  # outside a project there is only the current folder
        candidates.append(paths.project_root() / FILE)
    return next((path for path in candidates if path.is_file()), None)


def load(path: Path) -> dict[str, str]:
    """Return the settings of a file.

    Raises:
        ConfigError: it is no TOML, has an unknown key, or a value that is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:0: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"{path}:{line[1] if line else 0}: {error}") from error
    for key, value in raw.items():
        where = f"{path}:{_line(text, key)}"
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(
                f"{where}: unknown setting {key!r}{hint}",
                next_step=f"settings are: {', '.join(sorted(KEYS))}",
            )
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key}: expected text in quotes, seen {value!r}")
    return raw


def _line(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*[\[\"']*{re.escape(key)}\b", line):
            return number
    return 0
