"""Kernel config fragments: read, merged, and held against what the kernel made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ConfigError

_SET = re.compile(
    r"^(CONFIG_[A-Za-z0-9_]+)=(y|m|0x[0-9A-Fa-f]+|-?\d+|\"(?:[^\"\\]|\\.)*\")$", re.MULTILINE
)
_UNSET = re.compile(r"# (CONFIG_[A-Za-z0-9_]+) is not set")
_LARGEST = 1 << 20
_NAMED = 10
"""Options that an error names."""


@dataclass(frozen=True, slots=True)
class Option:
    """One wanted option: its value, or empty where it must not be set, and where that stands."""

    value: str
    path: Path
    line: int

    def __str__(self) -> str:
        """Return the value as people say it."""
        return self.value or "not set"


@dataclass(frozen=True, slots=True)
class Fragments:
    """Fragments merged in order: what a later one says about an option counts."""

    options: Mapping[str, Option]

    @property
    def text(self) -> str:
        """Return the merged fragment as a file, sorted: equal wishes give equal text."""
        lines = (
            f"{name}={option.value}" if option.value else f"# {name} is not set"
            for name, option in sorted(self.options.items())
        )
        return "\n".join(lines) + "\n"

    def check(self, config: str, kernel: str) -> None:
        """Make sure that every wanted option came out as written in a final ``.config``.

        Raises:
            ConfigError: one did not; the message starts with the wish's file and line.
        """
        found = {match[1]: match[2] for match in _SET.finditer(config)}
        lost = [
            (name, option)
            for name, option in self.options.items()
            if found.get(name, "") != option.value
        ]
        if lost:
            name, option = lost[0]
            seen = found.get(name)
            became = f"it comes out as {seen}" if seen else "it comes out not set"
            rest = ", ".join(f"{other}={wish}" for other, wish in lost[1:_NAMED])
            more = f"; nor has it {rest}" if rest else ""
            raise ConfigError(
                f"{option.path}:{option.line}: {kernel} has no {name}={option}: {became}{more}",
                next_step="add what the option depends on (its 'depends on' in the kernel's "
                "Kconfig files), or drop the line if this version has no such option",
            )


def read_fragments(paths: Sequence[Path]) -> Fragments:
    """Return the merged options of some fragments.

    Raises:
        ConfigError: a file cannot be read, or a line is neither an option, a comment nor blank.
    """
    options: dict[str, Option] = {}
    for path in paths:
        try:
            text = path.read_bytes()[: _LARGEST + 1].decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}:1: cannot be read: {error}") from error
        if len(text) > _LARGEST:
            raise ConfigError(f"{path}:1: larger than {_LARGEST} bytes")
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.strip()
            if match := _SET.fullmatch(words):
                options[match[1]] = Option(match[2], path, number)
            elif match := _UNSET.fullmatch(words):
                options[match[1]] = Option("", path, number)
            elif words and not words.startswith("#"):
                raise ConfigError(
                    f"{path}:{number}: expected CONFIG_NAME=VALUE or '# CONFIG_NAME is not set', "
                    f"found {words[:60]!r}"
                )
    return Fragments(options)
