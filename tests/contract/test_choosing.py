"""What ``farm run`` takes: suites, tests, names, markers, requirements; unknown ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from farm_project import FarmProject

from farm.events import CaseFinished, ImageInfo, JobStarted, encode
from farm.model import Verdict


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> FarmProject:
    return FarmProject(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 1 + 2 * 4 + 1 + 3 + 2),
        (("sync",), 1),
        (("mapcache/test_it.py",), 2 * 4 + 1 + 3 + 2),
        (("mapcache/test_it.py::test_second_import",), 2 * 4),
        (("mapcache/test_it.py::test_second_import[cirrus-4096]",), 1),
        (("-k", "second and cirrus"), 2),
        (("-m", "requirement"), 2 * 4 + 1 + 3 + 2 + 2),
        (("-m", "not requirement"), 1),
        (("-m", "full"), 2),
        (("mapcache/test_it.py::test_long[65536]",), 1),
        (("mapcache/test_it.py::test_long[65536]", "sync"), 2),
        (("--requirement", "MAP-1"), 2 * 4),
        (("-r", "MAP-9", "-r", "CON-2"), 1 + 3),
        (("-r", "MAP-1", "-k", "bochs"), 2),
    ],
)
def test_what_is_chosen_is_listed(farm: FarmProject, words: tuple[str, ...], count: int) -> None:
    ((name, tests),) = farm.listed("--board", "virt-smmuv3", *words).items()
    assert name == "virt-smmuv3"
    assert len(tests) == len(set(tests)) == count


def test_a_board_type_with_nothing_to_run_is_listed_as_such(farm: FarmProject) -> None:
    found = farm.listed("--requirement", "CON-2", "-k", "cirrus")
    assert {name: len(tests) for name, tests in found.items()} == {
        "virt-noiommu": 0,
        "virt-smmuv3": 1,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mapcash",), "no suite 'mapcash' (did you mean 'mapcache'?)"),
        (
            ("mapcache/test_if.py",),
            "suite mapcache has no file 'test_if.py' (did you mean 'test_it",
        ),
        (
            ("mapcache/test_it.py::test_secnd_import",),
            "has no test 'test_secnd_import' (did you mean 'test_second_import'?)",
        ),
        (
            ("mapcache/test_it.py::test_second_import[cirus-4096]",),
            "has no parameters 'cirus-4096' (did you mean 'cirrus-4096'?)",
        ),
        (("mapcache/test_it.py::test_second_import[cirus]",), "(did you mean 'cirrus-"),
        (("--requirement", "MAP-11"), "no requirement 'MAP-11' (did you mean 'MAP-1"),
        (("-m", "reqirement"), "-m: no marker 'reqirement' (did you mean 'requirement'?)"),
        (("-m", "case and"), "Wrong expression passed to '-m'"),
        (("-k", "cirus"), "nothing has 'cirus' in its name (did you mean 'cirrus'?)"),
        (("--failed", "nonsense"), "no run"),
        (("--match", "foo=bar"), "--match foo=bar: no virtual board is tagged so"),
        (("sync", "-r", "MAP-1"), "no test of sync on virt-noiommu, virt-smmuv3 is chosen by"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("listing", [True, False], ids=["list", "run"])
def test_what_is_unknown_is_told_before_anything_starts(
    farm: FarmProject, words: tuple[str, ...], said: str, listing: bool
) -> None:
    code, out, err = farm("run", *words, *(["--list"] if listing else []))
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ") and said in err and "Traceback" not in err


def test_a_list_of_what_failed_is_what_a_run_would_repeat(tmp_path: Path) -> None:
    project = FarmProject(tmp_path)
    nodeid = "mapcache/test_it.py::test_second_import[cirrus-4096]"
    start = JobStarted(
        run="r", job="j", board="b", board_type="virt-smmuv3", image=ImageInfo(profile="debian-13")
    )
    end = CaseFinished(seq=1, nodeid=nodeid, verdict=Verdict.FAIL, reason="it did")
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(f"{encode(event)}\n" for event in (start, end)))
    assert project("ingest", str(journal))[0] == 0
    assert project.listed("--failed", "last") == {"virt-smmuv3": [nodeid.partition("::")[2]]}
    code, _, err = project("run", "--failed", "last", "-k", "bochs", "--list")
    assert code == 2 and "is left to run" in err


def test_a_suite_that_cannot_be_collected_is_told_with_its_line(
    farm: FarmProject, tmp_path: Path
) -> None:
    broken = FarmProject(tmp_path)
    file = tmp_path / "testsuites" / "sync" / "test_other.py"
    file.write_text("import nosuch\n")
    code, out, err = broken("run", "--list")
    assert (code, out) == (1, "")
    assert "test_other.py:1" in err and "nosuch" in err
    (tmp_path / "testsuites" / "sync" / "suite.toml").write_text('name = "snyc"\n')
    code, out, err = broken("run")
    assert (code, out) == (2, "")
    assert f"error: {tmp_path}/testsuites/sync/suite.toml:1: the key 'sentence' is missing" in err


@pytest.mark.parametrize("words", ["run --list", "run", "nightly night.yaml"])
def test_two_cases_of_one_name_are_told_with_their_lines(tmp_path: Path, words: str) -> None:
    broken = FarmProject(tmp_path)
    (tmp_path / "night.yaml").write_text("description: a night\nboards: [virt-smmuv3]\n")
    one, two = (tmp_path / "testsuites" / name / "twice.c" for name in ("mapcache", "sync"))
    for file in (one, two):
        file.write_text('#include "farm.h"\n\nCASE(twice, "Is there twice")\n{\n}\n')
    code, out, err = broken(*words.replace("night.yaml", f"{tmp_path}/night.yaml").split())
    assert (code, out) == (2, ""), err
    assert f"error: {two}:3: case twice is already defined at {one}:3" in err
