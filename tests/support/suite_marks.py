"""The markers of suites' tests, without collecting them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from farm import paths


def suite_module(path: Path) -> ModuleType:
    """Return a suite's file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"suite_{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marks_of(nodeid: str) -> list[pytest.Mark]:
    """Return the markers of a test, by its id below ``testsuites/``."""
    file, _, name = nodeid.partition("::")
    return list(getattr(suite_module(paths.testsuites() / file), name).pytestmark)
