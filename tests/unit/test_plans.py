"""Nightly plans: what may stand in them, and what is said of what may not."""

from __future__ import annotations

import configparser
import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from farm import paths
from farm.errors import ConfigError, UsageError
from farm.plans import PlanSource, Retry, find_plan, seconds

ROOT = Path(__file__).parents[2]


def plan(folder: Path, text: str, name: str = "nightly.yaml") -> PlanSource:
    path = folder / name
    path.write_text(text)
    return PlanSource(path)


def test_a_plan_has_its_files_name_and_defaults(tmp_path: Path) -> None:
    found = plan(tmp_path, "description: everything\n").plan
    assert (found.name, found.time_box, found.wait, found.repeat) == ("nightly", None, 0.0, 1)
    assert found.retry == Retry(infra=True, new=5)
    assert found.tell == []


def test_a_plan_has_what_it_says(tmp_path: Path) -> None:
    text = """
description: all of it
boards: [virt-smmuv3]
match: {rack: "3"}
time_box: 90min
wait: 30s
retry: {infra: false, new: 0}
tell:
  - mail: [ann@example.org]
    when: trouble
  - webhook_from: FARM_HOOK
  - command: [./tell, me]
"""
    found = plan(tmp_path, text).plan
    assert (found.time_box, found.wait, found.retry) == (5400.0, 30.0, Retry(infra=False, new=0))
    assert [tell.when for tell in found.tell] == ["trouble", "always", "always"]
    assert found.tell[2].command == ["./tell", "me"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: expected a mapping at the top"),
        ("descripton: x", "1: descripton: unknown key 'descripton' (did you mean 'description'?)"),
        ("boards: []", "1: description: the key 'description' is missing"),
        ("description: x\nsuits: []", "2: suits: unknown key 'suits' (did you mean 'suites'?)"),
        (
            "description: x\nretry:\n  nwe: 3",
            "3: retry.nwe: unknown key 'nwe' (did you mean 'new'?)",
        ),
        ("description: x\ntell:\n  - mial: [a@b]", "3: tell.0.mial: unknown key 'mial' (did you"),
        ("description: x\ntell:\n  - mail: [ann]", "3: tell.0.mail.0: expected an e-mail address"),
        ("description: x\ntell:\n  - when: always", "3: tell.0: expected one of: mail, webhook"),
        ("description: x\ntell:\n  - {mail: [a@b], command: [x]}", "3: tell.0: expected one of"),
        ("description: x\ntell:\n  - webhook: ftp://h", "3: tell.0.webhook: expected an http"),
        ("description: x\ntell:\n  - webhook_from: http://h/x", "3: tell.0.webhook_from: "),
        ("description: x\ntime_box: 6", "2: time_box: expected a time with its unit"),
        ("description: x\ntime_box: 0h", "2: time_box: input should be greater than 0"),
        ("description: x\nretry: {new: -1}", "2: retry.new: input should be greater"),
        ("description: x\ndescription: y", "2: key 'description' stands here twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        plan(tmp_path, text)
    assert told.value.message.startswith(f"{tmp_path}/nightly.yaml:{said}")


def test_a_name_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a plan's file name is its name"):
        plan(tmp_path, "description: x\n", "a plan.yaml")


@given(st.text(max_size=8) | st.integers() | st.none())
def test_a_duration_is_one_or_a_value_error(value: object) -> None:
    with contextlib.suppress(ValueError):
        assert seconds(value) >= 0


@pytest.mark.parametrize(("text", "told"), [("90min", 5400), ("1.5 h", 5400), ("30s", 30)])
def test_durations(text: str, told: float) -> None:
    assert seconds(text) == told


def test_a_plan_is_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_ROOT", str(ROOT))
    assert find_plan("virtual") == ROOT / "reports" / "plans" / "virtual.yaml"
    assert find_plan("some/where.yaml") == Path("some/where.yaml")
    with pytest.raises(UsageError, match=r"no plan 'virtul' .* \(did you mean 'virtual'\?\)"):
        find_plan("virtul")


@pytest.mark.parametrize("path", sorted((ROOT / "reports" / "plans").glob("*.yaml")), ids=str)
def test_the_projects_own_plans_are_right(path: Path) -> None:
    from farm.cli.plancheck import check_boards, check_names
    from farm.inventory import load_board_types

    source = PlanSource(path)
    assert paths.project_root() == ROOT
    assert check_names(source)
    check_boards(source, "", load_board_types())


def documented(language: str) -> list[str]:
    """Return the blocks of docs/nightly.md in a language."""
    page = (ROOT / "docs" / "nightly.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


def test_the_documents_plan_is_one(tmp_path: Path) -> None:
    from farm.cli.plancheck import check_names

    source = plan(tmp_path, documented("yaml")[0])
    assert check_names(source) == ["sharing", "mapcache"]
    assert set(type(source.plan).model_fields) - {"name"} == set(source.file.data)


def test_the_recipes_files_are_whole() -> None:
    service, timer = (unit_of(text) for text in documented("ini"))
    assert service["Service"]["ExecStart"].endswith("/farm nightly %i")
    assert timer["Timer"]["OnCalendar"] and "Install" in timer
    (job,) = yaml.safe_load(documented("yaml")[1]).values()
    assert any("farm nightly virtual" in line for line in job["script"])
    assert documented("groovy")[0].count("{") == documented("groovy")[0].count("}")


def unit_of(text: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    return found
