"""The README's blocks of commands one after another, without what only tests need."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.model import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
IN_THE_TREE = ("board-configs", "testsuites", "pyproject.toml", "tests")


def by_hand() -> str:
    """Return the commands of the README's block."""
    text = (ROOT / "README.md").read_text()
    (block,) = (found for found in re.findall(r"```sh\n(.*?)```", text, re.S) if "reserve" in found)
    return str(block)


def test_the_readmes_commands_for_a_lab_by_hand(own_farm: Any) -> None:
    tree = own_farm.folder / "tree"
    tree.mkdir()
    for name in IN_THE_TREE:
        (tree / name).symlink_to(ROOT / name)
    (tree / ".venv").symlink_to(sys.prefix)
    variables = {
        **own_farm.variables,
        "LG_HOSTNAME": "desk",
        "LG_USERNAME": "engineer",
        "PYTEST_ADDOPTS": "-p no:timeout -p no:hypothesispytest",  # as without the extra "dev"
    }
    commands = by_hand()
    literal = "pytest --lg-env board-configs/virt-smmuv3.yaml testsuites/mapcache"
    assert f"\n{literal}\n" in commands
    commands = commands.replace(literal, f"{literal} -k second_import")  # the quick ones
    after = "farm run mapcache --board virt-exact"
    assert f"\n{after}\n" in (ROOT / "README.md").read_text().partition("farm lab down")[2]
    done = subprocess.run(
        ["bash", "-e"],
        input=f"{commands}{after} --list\n",  # the shell still has the variables of the lab
        env=variables,
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (journal,) = tree.glob("farm-results/*/journal.jsonl")
    told = list(events.read_journal(journal))
    verdicts = {event.verdict for event in told if isinstance(event, events.CaseFinished)}
    assert Verdict.PASS in verdicts and verdicts <= {Verdict.PASS, Verdict.SKIP}
    names = {event.nodeid for event in told if isinstance(event, events.CaseFinished)}
    assert all(name.startswith("mapcache/test_mapcache.py::") for name in names)


def test_warnings_of_others_are_no_errors_of_a_run_by_hand(own_farm: Any) -> None:
    tree = own_farm.folder / "tree"
    suite = tree / "testsuites" / "loud"
    suite.mkdir(parents=True)
    (tree / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    (suite / "test_loud.py").write_text(
        "import warnings\n\ndef test_warns():\n    warnings.warn('old', DeprecationWarning)\n"
    )
    config = tree / "board.yaml"
    config.write_text("targets: {main: {}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:timeout", "--lg-env", "board.yaml", str(suite)],
        env=own_farm.variables,
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 warning" in done.stdout
