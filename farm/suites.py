"""Suites: the folders of ``testsuites/`` that have a ``suite.toml``, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from farm import paths
from farm.tomlfile import TomlFile
from farm.yamlfile import nearest

FILE_NAME = "suite.toml"
"""What makes a folder a suite."""

EVERY_MARKER = ("-m", "")
"""What tells pytest to leave out nothing by markers, whatever ``testsuites/pytest.ini`` says."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite: its folder's name, a title, what it asks, and the thread that argued it out.

    ``default`` says whether it runs where no suite is asked for.
    """

    name: str
    title: str
    sentence: str
    thread: str
    default: bool = True


def load_suite(file: Path) -> Suite:
    """Return what a ``suite.toml`` says.

    Raises:
        ConfigError: the file is wrong; the message starts with ``file:line:``.
    """
    said = TomlFile(file)
    known = {field.name for field in fields(Suite)}
    for key, value in said.data.items():
        if key not in known:
            raise said.error(
                key, f"unknown key{nearest(key, known)}; known: {', '.join(sorted(known))}"
            )
        if key == "default":
            if not isinstance(value, bool):
                raise said.error(key, f"expected true or false, found {value!r}")
        elif not isinstance(value, str) or not value.strip():
            raise said.error(key, f"expected text in quotes, found {value!r}")
    for key in sorted(known - set(said.data) - {"default"}):
        raise said.error("", f"the key '{key}' is missing")
    if said.data["name"] != file.parent.name:
        raise said.error(
            "name", f"found '{said.data['name']}' in a folder named '{file.parent.name}'"
        )
    return Suite(**said.data)


def load_suites(root: Path | None = None) -> dict[str, Suite]:
    """Return every suite of ``testsuites/`` by name, sorted.

    Raises:
        ConfigError: a suite's file is wrong; the message starts with ``file:line:``.
    """
    files = sorted((root or paths.testsuites()).glob(f"*/{FILE_NAME}"))
    return {file.parent.name: load_suite(file) for file in files}
