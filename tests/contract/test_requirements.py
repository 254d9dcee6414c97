"""``farm requirements``: every id with its tests, who can test it here, and how it came out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from documented import documented
from farm_project import FarmProject
from journals import run_id, write_run

from farm.requirements import load_requirements


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> FarmProject:
    """A project whose store holds two runs: the first with trouble, the second without."""
    made = FarmProject(tmp_path_factory.mktemp("project"))
    runs = tmp_path_factory.mktemp("runs")
    for number in (1, 2):
        write_run(runs, number, trouble=number == 1)
    code, _, err = made("ingest", str(runs))
    assert code == 0, err
    return made


def rows(farm: FarmProject, *words: str) -> dict[str, dict[str, Any]]:
    code, out, err = farm("requirements", "--json", *words)
    assert code == 0, err
    return {row["id"]: row for row in json.loads(out)["requirements"]}


def test_every_requirement_is_listed_with_its_tests(farm: FarmProject) -> None:
    found = rows(farm)
    assert list(found) == list(load_requirements())
    assert found["MAP-1"]["tests"] == ["mapcache/test_it.py::test_second_import"]
    assert found["MAP-1"]["text"].endswith(".") and "Bin Wang" in found["MAP-1"]["source"]
    assert found["COD-4"]["tests"] == [] and found["COD-4"]["board_types"] == []


def test_boards_that_can_test_it_follow_from_what_they_declare(farm: FarmProject) -> None:
    able = {
        name: {one["board_type"]: one["images"] for one in row["board_types"]}
        for name, row in rows(farm).items()
    }
    assert able["MAP-1"]["virt-noiommu"][0] == "debian-13"
    assert "virt-smmuv3" in able["CON-2"] and "virt-noiommu" not in able["CON-2"]
    assert set(able["SYN-11"]["virt-smmuv3"]) == {
        *("reference-6.12", "reference-6.12+debug", "reference-7.x", "reference-7.x+debug"),
    }
    assert able["CON-4"] == {}, "no virtual board has a heap and a camera of hardware"


def test_the_last_verdict_is_that_of_the_newest_run_or_of_the_one_named(farm: FarmProject) -> None:
    def verdicts(*words: str) -> dict[str, tuple[str, str]]:
        row = rows(farm, "SHR-3", *words)["SHR-3"]
        return {one["board"]: (one["verdict"], one["run"]) for one in row["verdicts"]}

    both = ("virt-noiommu-1", "virt-smmuv3-1")
    assert verdicts() == dict.fromkeys(both, ("PASS", run_id(2)))
    assert verdicts("--run", run_id(1))["virt-smmuv3-1"] == ("FAIL", run_id(1))
    told = rows(farm, "SHR-3")["SHR-3"]["verdicts"][0]
    assert (told["kernel"], told["image"]) == ("6.12.107+deb13-arm64", "debian-13")
    assert told["counts"] == {"PASS": 42}


def test_requirements_are_narrowed(farm: FarmProject) -> None:
    assert list(rows(farm, "MAP-9", "CON-2")) == ["MAP-9", "CON-2"]
    assert {row["suite"] for row in rows(farm, "--suite", "sync").values()} == {"sync"}
    gaps = rows(farm, "--gaps")
    assert "COD-4" in gaps and "CON-4" in gaps and "MAP-1" not in gaps


def test_a_person_sees_what_nobody_tests(farm: FarmProject) -> None:
    code, out, err = farm("requirements")
    assert code == 0
    assert "no test: " in err and "COD-4" in err.partition("no test: ")[2]
    assert "no board here can: CON-4" in err
    assert "PASS virt-noiommu-1 virt-smmuv3-1" in out
    code, out, _ = farm("requirements", "CON-4")
    assert code == 0 and "argued in: " in out and "no board here can" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("MAP-11",), "no requirement 'MAP-11' (did you mean 'MAP-1"),
        (("--suite", "synk"), "no suite 'synk' (did you mean 'sync'?)"),
        (("--run", "nosuch"), "no run 'nosuch'"),
    ],
)
def test_unknown_words_are_told(farm: FarmProject, words: tuple[str, ...], said: str) -> None:
    code, out, err = farm("requirements", *words)
    assert (code, out) == (2, "") and said in err


def test_the_object_is_as_documented(farm: FarmProject) -> None:
    body = json.loads(farm("requirements", "--json", "--run", run_id(1))[1])
    row = next(one for one in body["requirements"] if one["id"] == "MAP-1")
    names = {*body, *row, *row["board_types"][0], *row["verdicts"][0]}
    assert documented("farm requirements --json") == names
