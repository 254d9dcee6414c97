"""Which suites a run takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_files import write_suite

from farm.errors import ConfigError, UsageError
from farm.run.selection import choose_suites


@pytest.fixture
def suites(tmp_path: Path) -> Path:
    for name in ("mapcache", "sharing"):
        write_suite(tmp_path / name)
        (tmp_path / name / f"test_{name}.py").touch()
    (tmp_path / "payload").mkdir()
    return tmp_path


def test_a_suite_is_a_folder_with_its_file(suites: Path) -> None:
    assert choose_suites([], suites) == ["mapcache", "sharing"]


def test_some_suites_run_only_where_they_are_asked_for(suites: Path) -> None:
    file = write_suite(suites / "external") / "suite.toml"
    file.write_text(f"{file.read_text()}default = false\n")
    assert choose_suites([], suites) == ["mapcache", "sharing"]
    assert choose_suites(["external"], suites) == ["external"]


def test_a_test_within_a_test_stands_for_the_one_that_it_is_within(suites: Path) -> None:
    words = ["mapcache/test_mapcache.py::test_x[a]@node@its name"]
    assert choose_suites(words, suites) == ["mapcache/test_mapcache.py::test_x[a]"]


def test_suites_files_and_node_ids_are_taken_once_each(suites: Path) -> None:
    words = ["sharing/", "mapcache/test_mapcache.py::test_x[a]", "sharing"]
    assert choose_suites(words, suites) == ["sharing", "mapcache/test_mapcache.py::test_x[a]"]


def test_an_unknown_suite_is_answered_with_the_nearest(suites: Path) -> None:
    with pytest.raises(UsageError, match=r"no suite 'mapcash' \(did you mean 'mapcache'\?\)"):
        choose_suites(["mapcash"], suites)
    with pytest.raises(UsageError, match="no suite 'payload'"):
        choose_suites(["payload"], suites)


def test_an_unknown_file_is_answered_with_the_nearest(suites: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'test_mapcache\.py'\?"):
        choose_suites(["mapcache/test_mapcach.py"], suites)


def test_a_project_without_suites_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no suite"):
        choose_suites([], tmp_path)


def test_a_broken_suite_is_named_by_file_and_line(suites: Path) -> None:
    file = suites / "sharing" / "suite.toml"
    file.write_text('name = "sharing"\ntitel = "Sharing"\n')
    with pytest.raises(ConfigError, match=r"sharing/suite\.toml:2: titel: unknown key .*'title'"):
        choose_suites(["mapcache"], suites)
