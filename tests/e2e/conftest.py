"""A farm of this test's own: state and results in a temporary folder, images from the cache."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.run.view import Follower

PATIENCE_S = 120.0
"""Bound on waiting for what happens at once unless something is wrong."""

RUN_S = 300.0
"""Bound on waiting for what a run does on its way, a boot included."""

ROOT = Path(__file__).parents[2]


@dataclass
class Farm:
    """The ``farm`` command with folders of its own."""

    folder: Path
    variables: dict[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from farm.cli.main import main; main()", *words],
            cwd=ROOT,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        said, told = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, said, told)

    def json(self, *words: str) -> dict[str, Any]:
        done = self.call(*words, "--json")
        assert done.stdout, done.stderr
        body: dict[str, Any] = json.loads(done.stdout)
        return body

    def own_project(self) -> Path:
        """Have the farm work on a copy of the board configs and suites; return its folder."""
        project = self.folder / "project"
        for name in ("board-configs", "testsuites"):
            shutil.copytree(ROOT / name, project / name)
        self.variables["FARM_ROOT"] = str(project)
        return project

    def own_suite(self, name: str, text: str) -> None:
        """Have such a project with a suite of its own, of the payload's own cases."""
        suite = self.own_project() / "testsuites" / name
        shutil.copytree(
            suite.parent / "sync", suite, ignore=shutil.ignore_patterns("*.[ch]", "*.py")
        )
        file = suite / "suite.toml"
        file.write_text(file.read_text().replace('name = "sync"', f'name = "{name}"'))
        (suite / f"test_{name}.py").write_text(text)

    def leases(self) -> list[Path]:
        return list((self.folder / "state" / "farm" / "leases").glob("*"))

    def processes(self) -> list[int]:
        """Return every process that this farm started and that still runs."""
        mark = f"XDG_STATE_HOME={self.variables['XDG_STATE_HOME']}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in words:
                found.append(int(entry.name))
        return found

    def journal(self, out: Path, board: str) -> Path:
        """Return a job's journal once it exists."""
        pause = threading.Event()
        deadline = time.monotonic() + RUN_S
        while not (found := list(out.glob(f"*/{board}/journal.jsonl"))):
            assert time.monotonic() < deadline, f"no journal of {board} in {RUN_S:g} s"
            pause.wait(0.1)
        return found[0]

    def await_event(self, journal: Path, kind: type[events.Event], count: int = 1) -> Any:
        """Return the ``count``-th event of a kind, once the journal has it."""
        follower = Follower(journal)
        pause = threading.Event()
        deadline = time.monotonic() + RUN_S
        seen = 0
        while time.monotonic() < deadline:
            for event in follower.news():
                seen += isinstance(event, kind)
                if seen == count:
                    return event
            pause.wait(0.05)
        said = "\n".join(journal.read_text().splitlines()[-5:])[-2000:]
        raise AssertionError(f"{kind.__name__} no. {count} did not come in {RUN_S:g} s:\n{said}")

    def await_end_of_all(self) -> list[int]:
        """Wait until nothing that this farm started runs; return what still does at the end."""
        pause = threading.Event()
        deadline = time.monotonic() + PATIENCE_S
        while (left := self.processes()) and time.monotonic() < deadline:
            pause.wait(0.1)
        return left


@pytest.fixture
def own_farm(tmp_path: Path) -> Iterator[Farm]:
    with farm_in(tmp_path) as farm:
        yield farm


@pytest.fixture(scope="module")
def module_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with farm_in(tmp_path_factory.mktemp("farm")) as farm:
        yield farm


@contextlib.contextmanager
def farm_in(folder: Path) -> Iterator[Farm]:
    variables = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LG_", "FARM_", "PYTEST_"))
    }
    variables |= {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_DATA_HOME": str(folder / "data"),
        "NO_PROXY": "127.0.0.1,localhost",
    }
    farm = Farm(folder, variables)
    yield farm
    down = farm.call("lab", "down")
    left = farm.await_end_of_all() if down.returncode == 0 else farm.processes()
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert down.returncode == 0, down.stderr
    assert left == []
