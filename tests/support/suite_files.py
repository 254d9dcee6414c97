"""Suites as tests make them: a folder with a ``suite.toml`` that says what it must."""

from __future__ import annotations

from pathlib import Path


def suite_toml(name: str) -> str:
    """Return a whole ``suite.toml`` for a folder of that name."""
    return (
        f'name = "{name}"\ntitle = "A suite"\nsentence = "It asks something."\n'
        'thread = "somebody, somewhere"\n'
    )


def write_suite(folder: Path) -> Path:
    """Make the folder a suite and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.toml").write_text(suite_toml(folder.name))
    return folder
