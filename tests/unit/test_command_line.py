"""The command line's frame: exit codes, errors, settings, help."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from suite_files import write_suite
from typer.main import get_command

from farm import inventory
from farm.cli import doctor, output, ownlab, settings
from farm.cli import main as frame
from farm.errors import ConfigError, FarmError, InfraError, JournalError, LabError, UsageError
from farm.lab import virtual

ROOT = Path(__file__).parents[2]


@cache
def command_tree() -> Any:
    """Return the ``farm`` command with all that is below it, which takes long to make."""
    return get_command(frame.app)


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run ``farm WORDS`` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["farm", *words])
    with pytest.raises(SystemExit) as caught:
        frame.main()
    return int(caught.value.code or 0)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own, with no lab and no results."""
    for name in ("STATE", "DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    for name in ("LG_COORDINATOR", "FARM_LAB", "FARM_DB", "FARM_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FARM_ROOT", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ConfigError("f:1: x"), 2),
        (JournalError("f:1: x"), 2),
        (LabError("x"), 3),
        (InfraError("x"), 3),
        (FarmError("x"), 1),
    ],
)
def test_every_error_has_its_exit_code(
    error: FarmError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert output.report_error(error) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_an_error_is_a_sentence_and_a_next_step() -> None:
    text = output.error_text(LabError("no lab", next_step="start one"))
    assert text == "error: no lab\n next: start one"


@given(st.text())
def test_shown_text_cannot_drive_a_terminal(text: str) -> None:
    shown = output.printable(text)
    assert all(char.isprintable() or char == "\n" for char in shown)


def examples() -> list[str]:
    """Return every command that a help page shows: a line of its own, indented by two or more."""
    found = []

    def walk(command: Any) -> None:
        for line in (command.help or "").splitlines():
            if shown := re.match(r" {2,}(farm .*?)(?: {2,}.*)?$", line):
                found.append(shown[1])
        for below in getattr(command, "commands", {}).values():
            walk(below)

    walk(command_tree())
    return found


def test_every_example_of_a_help_page_parses() -> None:
    shown = examples()
    assert "farm show last" in shown
    for example in shown:
        for part in re.split(" && | > ", example):
            command = command_tree()
            words = shlex.split(part)
            if words[0] != "farm":
                continue  # where output goes
            while words and (below := getattr(command, "commands", {})):
                words = words[1:]
                command = below[words[0]]
            context = command.make_context(words[0], words[1:])  # tells what is unknown
            for name in ("run", "before", "after", "failed"):
                run = context.params.get(name) or "last"
                assert run == "last" or run.isupper() or run[0].isdigit(), f"{run} in {example!r}"


def test_no_lab_is_one_sentence_and_exit_3(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "boards") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: no lab: LG_COORDINATOR is not set and no virtual lab is up",
        " next: start a virtual lab with: farm lab up",
    ]


def test_no_coordinator_is_one_sentence_and_exit_3(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", "mapcache", "--coordinator", "127.0.0.1:1", "--json") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: no coordinator at 127.0.0.1:1: ")
    assert " next: check LG_COORDINATOR" in said.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "mapcahe"], "did you mean 'mapcache'?"),
        (["run", "--board", "virt-smmu3"], "did you mean 'virt-smmuv3'?"),
        (["run", "--match", "room"], "expected key=value"),
        (["run", "--image", "debian-31"], "debian-13"),
        (["run", "--failed", "last"], "no run"),
        (["run", "--db", "nonsense://"], "nonsense"),
    ],
)
def test_wrong_words_are_exit_2_with_a_hint(
    words: list[str],
    hint: str,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert hint in said.err


def test_an_unknown_option_is_exit_2(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", "--bord", "x") == 2
    assert "--bord" in capsys.readouterr().err


def test_every_command_has_help_and_json(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leaves(command: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        below = getattr(command, "commands", None)
        if below is None:
            return [path]
        return [leaf for name, sub in below.items() for leaf in leaves(sub, (*path, name))]

    commands = leaves(command_tree(), ())
    assert ("run",) in commands
    assert ("lab", "up") in commands
    for words in commands:
        assert call(monkeypatch, *words, "--help") == 0
        said = capsys.readouterr().out
        assert "Usage: farm" in said
        assert "--json" in said or words == ("lab", "env"), words


def test_settings_are_below_flags_and_variables(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "farm.toml").write_text('coordinator = "127.0.0.1:1"\n')
    assert call(monkeypatch, "boards") == 3
    assert "no coordinator at 127.0.0.1:1" in capsys.readouterr().err
    monkeypatch.setenv("LG_COORDINATOR", "127.0.0.1:2")
    assert call(monkeypatch, "boards") == 3
    assert "no coordinator at 127.0.0.1:2" in capsys.readouterr().err
    assert call(monkeypatch, "boards", "--coordinator", "127.0.0.1:3") == 3
    assert "no coordinator at 127.0.0.1:3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('\ncordinator = "x"\n', r"farm.toml:2: cordinator: unknown setting \(did you mean"),
        ("db = 3\n", "farm.toml:1: db: expected text in quotes, seen 3"),
        ('db = "x"\ndb =\n', r"farm.toml:2: "),
    ],
)
def test_a_wrong_settings_file_names_its_line(elsewhere: Path, text: str, message: str) -> None:
    path = elsewhere / "farm.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        settings.load(path)


def test_a_wrong_board_config_is_exit_2_with_file_and_line(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "board-configs").mkdir()
    write_suite(elsewhere / "testsuites/mapcache")
    text = (ROOT / "board-configs/virt-smmuv3.yaml").read_text()
    wrong = elsewhere / "board-configs/virt-smmuv3.yaml"
    wrong.write_text(text.replace("iommu: arm-smmu-v3", "iomu: arm-smmu-v3"))
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "iommu: arm-smmu-v3" in row)
    monkeypatch.setenv("FARM_ROOT", str(elsewhere))
    assert call(monkeypatch, "run", "--json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {wrong}:{line}: ")
    assert "iomu" in said.err


def test_doctor_says_what_is_missing_and_how_to_get_it() -> None:
    program = next(one for one in doctor.programs() if one.name == "qemu-system-aarch64")
    check = doctor.check_program(program, lambda name: None)
    assert (check.name, check.state) == ("qemu-system-aarch64", "missing")
    assert check.get == "apt install qemu-system-arm"
    assert not doctor.healthy([check])
    assert doctor.check_program(program, lambda name: f"/bin/{name}").state == "ok"
    lesser = next(one for one in doctor.programs() if one.name == "microcom")
    check = doctor.check_program(lesser, lambda name: None)
    assert check.state == "later" and "labgrid-client console" in check.found
    assert doctor.healthy([check])


def test_what_doctor_looks_for_is_what_the_set_up_installs(tmp_path: Path) -> None:
    """Where no program is found, the script names the package of each: it may install none here."""
    here = tmp_path / "bin"
    here.mkdir()
    (here / "dirname").symlink_to(shutil.which("dirname") or "/nowhere")
    (here / "id").write_text("#!/bin/sh\necho 1000\n")
    (here / "id").chmod(0o755)
    script = (ROOT / "tools" / "install-system-packages").read_text()
    copy = tmp_path / "tools" / "script"
    copy.parent.mkdir()
    copy.write_text(script.replace("$PATH:/usr/sbin:/sbin", "$PATH"))
    (tmp_path / "farm" / "cli").mkdir(parents=True)
    (tmp_path / "farm" / "cli" / "programs.txt").symlink_to(ROOT / "farm" / "cli" / "programs.txt")
    done = subprocess.run(
        ["/bin/sh", copy], env={"PATH": str(here)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert {one.package for one in doctor.programs()} <= set(done.stderr.split())


def test_doctor_without_qemu_is_exit_3(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere))
    assert call(monkeypatch, "doctor", "--json") == 3
    body = json.loads(capsys.readouterr().out)
    assert body["schema"] == 1
    assert body["ok"] is False
    states = {check["name"]: check["state"] for check in body["checks"]}
    assert states["qemu-system-aarch64"] == "missing"
    assert states["image debian-13"] == "later"


def test_a_run_without_qemu_is_one_sentence_and_exit_3(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere))
    assert call(monkeypatch, "run", "mapcache", "--json") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "qemu" in said.err
    assert " next: " in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nosuch=1",), "no virtual board is tagged so"),
        (("virtual=no",), "no virtual board is tagged so"),
        (("image=debian-13", "board_type=virt-nosuch"), "image=debian-13 board_type=virt-nosuch"),
    ],
)
def test_a_match_that_no_virtual_board_meets_brings_none_up(
    words: tuple[str, ...],
    told: str,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere))  # with no QEMU: a lab would fail otherwise
    flags = [flag for word in words for flag in ("--match", word)]
    assert call(monkeypatch, "run", *flags) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "LG_COORDINATOR" in said and "farm boards" not in said


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, ["virt-noiommu", "virt-smmuv3"]),
        ({"virtual": "yes", "hw_emulator": "qemu-1"}, ["virt-noiommu", "virt-smmuv3"]),
        ({"board_type": "virt-smmuv3"}, ["virt-smmuv3"]),
        ({"board_type": "virt-noncoherent"}, ["virt-noncoherent"]),
    ],
)
def test_a_match_chooses_which_virtual_boards_come_up(
    match: dict[str, str], expected: list[str]
) -> None:
    types = inventory.load_board_types()
    offered = sorted(name for name, kind in types.items() if kind.virtual)
    usual = virtual.default_types(types)
    assert sorted(ownlab.matching(match, "", types, usual, offered)) == expected


def with_json(command: Any, *words: str) -> Iterator[str]:
    """Give every command that takes --json, as ``farm lab up``."""
    for name, below in getattr(command, "commands", {}).items():
        yield from with_json(below, *words, name)
    if any("--json" in one.opts for one in command.params):
        yield " ".join(("farm", *words))


def test_the_page_about_json_describes_each_command_once() -> None:
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (farm .*?)\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    headings = [heading for heading, _ in sections]
    assert headings and len(set(headings)) == len(headings)
    commands = set(with_json(command_tree()))
    described = {
        command
        for command in commands
        for heading, body in sections
        if heading.startswith(f"{command} ")
        or f"`{command}`" in body
        or (
            heading == f"{command.rpartition(' ')[0]} --json"
            and f"`{command.rpartition(' ')[2]}`" in body
        )
    }
    assert commands - described == set()
    groups = {command.rpartition(" ")[0] for command in commands}
    strange = [
        heading
        for heading in headings
        if not any(heading.startswith(f"{one} ") for one in (*commands, *groups))
    ]
    assert not strange


def test_the_documents_name_every_part_and_page() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = [
        f"`farm/{path.name}{'/' if path.is_dir() else ''}`"
        for path in (ROOT / "farm").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    assert [one for one in sorted(parts) if one not in architecture and "__init__" not in one] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert [page for page in pages if f"(docs/{page})" not in readme] == []


def test_the_boards_that_farm_lab_up_starts_are_those_of_its_help(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "lab", "up", "--help") == 0
    told = set(re.findall(r"virt-\w+", capsys.readouterr().out.partition("Default:")[2][:200]))
    assert told == set(virtual.default_types(inventory.load_board_types()))
