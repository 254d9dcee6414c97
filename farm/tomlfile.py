"""TOML files with positions: errors that name file, line and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from farm.errors import ConfigError

MAX_BYTES = 1 << 20
"""Largest TOML file that is read, in bytes."""


class TomlFile:
    """One parsed TOML file: its data, and the line that each top-level key stands on."""

    def __init__(self, path: Path) -> None:
        """Read and parse ``path``.

        Raises:
            ConfigError: unreadable, too large, or not TOML.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{path}:1: cannot be read: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}:1: larger than {MAX_BYTES} bytes")
        try:
            self.text = content.decode("utf-8")
            self.data: dict[str, Any] = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}: not UTF-8: {error.reason}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}:{self._line_of(error)}: not valid TOML: {error}") from error
        except RecursionError as error:
            raise ConfigError(f"{path}:1: not valid TOML: nested too deeply") from error

    def line(self, key: str) -> int:
        """Return the 1-based line of a top-level key, 1 where it has none."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if re.match(rf"\s*[\[\"']*{re.escape(key)}\b", line):
                return number
        return 1

    def error(self, key: str, problem: str, *, next_step: str = "") -> ConfigError:
        """Return the error for ``problem`` at a top-level key."""
        where = f"{self.path}:{self.line(key)}: "
        return ConfigError(where + (f"{key}: " if key else "") + problem, next_step=next_step)

    def _line_of(self, error: tomllib.TOMLDecodeError) -> int:
        told = re.search(r"at line (\d+)", str(error))
        return int(told[1]) if told else self.text.count("\n") + 1
