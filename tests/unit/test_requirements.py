"""The requirements file: every id with its sentence, suite and source."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.cli.requirements import Row
from farm.errors import ConfigError
from farm.model import Verdict
from farm.requirements import Requirement, load_requirements
from farm.store import BoardVerdicts

SOURCES = "sources: {sharing: a thread}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "requirements.yaml"
    path.write_text(text)
    return path


def test_requirement_has_sentence_suite_and_source(tmp_path: Path) -> None:
    path = written(
        tmp_path, SOURCES + "requirements:\n  SHR-1: {suite: sharing, text: It holds.}\n"
    )
    found = load_requirements(path)["SHR-1"]
    assert (found.id, found.suite, found.text, found.source) == (
        "SHR-1",
        "sharing",
        "It holds.",
        "a thread",
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("SHR-1: {suite: shring, text: It holds.}", "did you mean 'sharing'"),
        ("SHR-1: {suite: sharing, text: It holds}", "should match pattern"),
        ("SHR-1: {suite: sharing}", "'text' is missing"),
        ("SHR-01: {suite: sharing, text: It holds.}", "should match pattern"),
        ("shr-1: {suite: sharing, text: It holds.}", "should match pattern"),
        ("SHR-1: {suite: sharing, text: It holds., owner: me}", "unknown key 'owner'"),
        ("SHR-1: {suite: sharing, text: A.}\n  SHR-1: {suite: sharing, text: B.}", "twice"),
    ],
)
def test_wrong_entry_is_named_by_file_and_line(tmp_path: Path, entry: str, said: str) -> None:
    path = written(tmp_path, f"{SOURCES}requirements:\n  {entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_requirements(path)
    assert str(caught.value).startswith(f"{path}:")
    assert said in str(caught.value)


def test_project_has_every_group_of_requirements() -> None:
    found = load_requirements()
    counts = {
        group: sum(name.startswith(group) for name in found)
        for group in ("SHR", "MAP", "CPU", "SYN", "CON", "COD")
    }
    assert counts == {"SHR": 8, "MAP": 10, "CPU": 8, "SYN": 12, "CON": 7, "COD": 5}
    assert sum(counts.values()) == len(found)


def test_images_with_which_all_tests_were_skipped_are_told() -> None:
    one = Requirement("MAP-1", "mapcache", "It maps once.", "000")

    def told(board: str, image: str, verdict: Verdict) -> BoardVerdicts:
        return BoardVerdicts(board, "virt-exact", "r", image, "7.2", {verdict: 3, Verdict.SKIP: 1})

    last = (
        told("a", "debian-sid", Verdict.SKIP),
        told("b", "debian-13", Verdict.PASS),
        told("c", "odd", Verdict.SKIP),
    )
    row = Row(one, ("t",), {"virt-exact": ("debian-13", "debian-sid")}, last)

    assert row.skipped("virt-exact") == ("debian-sid",)
    assert row.skipped("virt-smmuv3") == ()
