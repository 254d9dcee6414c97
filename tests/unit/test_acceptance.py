"""Accepting what was seen: rows are added at the end, and nothing else of the file moves."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.board.kernel import KernelRelease
from farm.errors import ConfigError, UsageError
from farm.pytest_plugin.acceptance import Acceptance, Observation, accept
from farm.pytest_plugin.expectations import load_expectations

REASON = (
    "drm_gem_shmem_prime_import_no_map() attaches, and leaves the map to others "
    "(drivers/gpu/drm/drm_gem_shmem_helper.c)"
)
SEEN = Observation("cirrus", "udmabuf", "*", "6.16.3-arm64", "", "shared", "", 1, 0)
TABLE = """\
# What importing does.

imports:

  # --- the first kind ---

  - importer: vivid      # it uses the CPU
    access: cpu
    outcome: shared
    attaches: 0
    maps: 0
    reason: >-
      vb2_vmalloc_map_dmabuf() asks for dma_buf_vmap() (drivers/media/common/videobuf2)

  # a comment at the end
"""
MORE = """
other:          # a part that comes later
  - {x: 1}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "expectations.yaml"
    file.write_text(TABLE)
    return file


def added_lines(found: Acceptance) -> list[str]:
    changes = difflib.ndiff(found.before.splitlines(), found.after.splitlines())
    told = [line for line in changes if line[0] in "+-"]
    assert not [line for line in told if line.startswith("-")], "nothing may go"
    return [line[2:] for line in told]


def test_a_row_is_added_in_the_style_of_the_file(path: Path) -> None:
    found = accept(path, [SEEN], REASON)
    assert found.added == (SEEN,)
    assert [line for line in added_lines(found) if line] == [
        "  # --- accepted as seen on Linux 6.16.3-arm64 ---",
        "  - exporter: udmabuf",
        "    importer: cirrus",
        '    kernel: ">=6.16,<6.17"',
        "    outcome: shared",
        "    attaches: 1",
        "    maps: 0",
        "    reason: >-",
        "      drm_gem_shmem_prime_import_no_map() attaches, and leaves the map to others",
        "      (drivers/gpu/drm/drm_gem_shmem_helper.c)",
    ]
    assert path.read_text() == TABLE, "working it out writes nothing"
    path.write_text(found.after)
    row = SEEN.expected(load_expectations(path))
    assert row is not None and row.met_by(SEEN.seen) and row.reason == REASON


def test_accepting_twice_changes_nothing(path: Path) -> None:
    path.write_text(accept(path, [SEEN, SEEN], REASON).after)
    again = accept(path, [SEEN], REASON)
    assert (again.added, again.known) == ((), (SEEN,))
    assert again.after == again.before


def test_what_a_row_says_otherwise_is_told_and_not_written(path: Path) -> None:
    path.write_text(accept(path, [SEEN], REASON).after)
    other = replace(SEEN, maps=1)
    found = accept(path, [other], REASON)
    ((seen, row),) = found.contrary
    assert (seen, row.maps, found.added, found.after) == (other, 0, (), found.before)


def test_two_boards_that_differ_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="seen both ways") as caught:
        accept(path, [SEEN, replace(SEEN, outcome="refused", errno="EINVAL", maps=1)], REASON)
    assert "either" in caught.value.next_step


def test_own_access_and_board_are_part_of_the_row(path: Path) -> None:
    own = replace(SEEN, exporter="own", attaches=0)
    contiguous = replace(SEEN, importer="vivid", access="contiguous", board="bounces")
    refused = replace(contiguous, board="", outcome="refused", errno="EFAULT", maps=1)
    path.write_text(accept(path, [own, contiguous, refused], REASON).after)
    table = load_expectations(path)
    for one in (own, contiguous, refused):
        row = one.expected(table)
        assert row is not None and row.met_by(one.seen), one


def test_the_range_may_be_widened_but_holds_what_was_seen(path: Path) -> None:
    path.write_text(accept(path, [SEEN], REASON, ">=6.13,<7.2").after)
    table = load_expectations(path)
    assert table.find(SEEN.pair, KernelRelease.parse("7.1.0")) is not None
    assert table.find(SEEN.pair, KernelRelease.parse("7.2.0")) is None
    for wrong, said in ((">=7.2", "does not hold Linux 6.16.3"), ("6.16", "expected '\\*'")):
        with pytest.raises(UsageError, match=said):
            accept(path, [replace(SEEN, importer="vgem")], REASON, wrong)


@pytest.mark.parametrize("reason", ["", "because", "a reason \x1b[31m with an escape in it"])
def test_a_reason_that_says_nothing_is_refused(path: Path, reason: str) -> None:
    with pytest.raises(UsageError, match="a reason of"):
        accept(path, [SEEN], reason)


def test_rows_go_before_what_follows_the_list(path: Path) -> None:
    # The table itself takes no other part; the place is found all the same.
    path.write_text(TABLE.replace("  # a comment at the end\n", ""))
    found = accept(path, [SEEN], REASON)
    assert found.after.startswith(found.before.rstrip("\n"))


def test_a_list_in_one_line_is_refused(path: Path) -> None:
    path.write_text(
        "imports: [{importer: vgem, outcome: shared, attaches: 1, maps: 1, "
        "reason: because the kernel says so}]\n"
    )
    with pytest.raises(ConfigError, match=r"expectations\.yaml:1: imports: written in one line"):
        accept(path, [SEEN], REASON)


def test_an_errno_that_is_none_is_not_written(path: Path) -> None:
    odd = replace(SEEN, outcome="refused", errno="E<script>")
    with pytest.raises(ConfigError, match=r"expectations\.yaml:\d+: .*is no errno"):
        accept(path, [odd], REASON)


@pytest.mark.parametrize(
    "change",
    [{"kernel": "new"}, {"maps": "many"}, {"access": "magic"}, {"errno": None}],
    ids=str,
)
def test_a_record_that_is_none_is_refused(change: dict[str, str | None]) -> None:
    told = {
        "exporter": "udmabuf",
        "importer": "cirrus",
        "access": "*",
        "board": "",
        "kernel": "6.16.3",
        "outcome": "shared",
        "errno": "",
        "attaches": "1",
        "maps": "0",
    }
    assert Observation.parse(told) == replace(SEEN, kernel="6.16.3")
    wrong = {name: value for name, value in {**told, **change}.items() if value is not None}
    with pytest.raises(UsageError, match="cannot be read"):
        Observation.parse(wrong)


names = st.from_regex(r"[a-z][a-z0-9_-]{0,11}", fullmatch=True)
seen = st.one_of(
    st.tuples(st.just("shared"), st.just("")),
    st.tuples(st.just("refused"), st.sampled_from(["EINVAL", "ENODEV", "EIO"])),
)


@given(
    pairs=st.dictionaries(st.tuples(names, names), st.tuples(seen, st.booleans()), max_size=5),
    reason=st.text(
        st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=20
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_whatever_is_accepted_is_expected_afterwards(
    path: Path, pairs: dict[tuple[str, str], tuple[tuple[str, str], bool]], reason: str
) -> None:
    path.write_text(TABLE)
    observations = [
        Observation(importer, exporter, "*", "6.16.3", "", *what, 1, int(maps))
        for (exporter, importer), (what, maps) in pairs.items()
    ]
    try:
        found = accept(path, observations, reason)
    except UsageError as error:
        assert "reason" in str(error)
        return
    path.write_text(found.after)
    table = load_expectations(path)
    assert sorted(found.added) == sorted(observations)
    for one in observations:
        row = one.expected(table)
        assert row is not None and row.met_by(one.seen)
        assert row.reason == " ".join(reason.split())
    assert accept(path, observations, reason).after == found.after
