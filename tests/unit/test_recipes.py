"""The recipes of the documentation: files that other programs read, and commands that there are."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from farm.cli import main as frame

DOCS = Path(__file__).parents[2] / "docs"
UNIT = re.compile(r"# /etc/systemd/system/(\S+)\n(.*?)(?=\n# /etc/|\Z)", re.DOTALL)
FARM = re.compile(r"\S*/bin/farm ([^\n'|]*)")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def units() -> Iterator[tuple[str, str]]:
    for page in ("nightly.md", "health.md"):
        for block in blocks(page, "ini"):
            yield from UNIT.findall(block)


def gitlab() -> dict[str, list[str]]:
    (text,) = (block for block in blocks("nightly.md", "yaml") if ".gitlab-ci.yml" in block)
    job: dict[str, list[str]] = yaml.safe_load(text)["nightly"]
    return job


def recipes() -> list[str]:
    return [*(text for _, text in units()), *gitlab()["script"], *blocks("nightly.md", "groovy")]


def test_every_command_of_a_recipe_is_one() -> None:
    found = [match for text in recipes() for match in FARM.findall(text)]
    assert len(found) == 4
    for line in found:
        command, words = typer.main.get_command(frame.app), shlex.split(line)
        while below := getattr(command, "commands", {}):
            command = below[words.pop(0)]
        command.make_context("farm", words)  # an option that is none is an error here


def test_gitlabs_script_is_shell_and_keeps_the_exit_code() -> None:
    script = gitlab()["script"]
    said = ["farm() { echo $*; return $CODE; }; make() { echo made; }"]
    said += [line.replace(".venv/bin/farm", "farm") for line in script]
    for code in range(4):
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(said)],
            env={"CODE": str(code)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.startswith("made\nnightly ")


@pytest.mark.parametrize(("name", "text"), [*units()], ids=lambda one: one.partition("\n")[0])
def test_a_unit_is_one(name: str, text: str, tmp_path: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    wanted = "Timer" if name.endswith(".timer") else "Service"
    assert wanted in parser and parser[wanted].get("OnCalendar" if wanted == "Timer" else "Type")
    if shutil.which("systemd-analyze") is None:
        return
    for one, said in units():
        stem, at, kind = one.partition("@")
        said = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", said)
        (tmp_path / f"{stem}{at}{'virtual' if at else ''}{kind}").write_text(said)
    file = name.replace("@", "@virtual")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert name.partition("@")[0] not in done.stderr, done.stderr
