"""The table of expectations: strict when read, first fitting row when asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import inventory, paths
from farm.errors import ConfigError, NoExpectation
from farm.model import Device, DeviceKind
from farm.pytest_plugin.expectations import (
    Access,
    KernelRange,
    Outcome,
    Seen,
    load_expectations,
)


@dataclass(frozen=True)
class Release:
    major: int
    minor: int

    def at_least(self, major: int, minor: int = 0) -> bool:
        return (self.major, self.minor) >= (major, minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def device(name: str, driver: str, **more: bool) -> Device:
    kind = DeviceKind.V4L2 if driver == "vivid" else DeviceKind.DRM
    return Device(name, kind, driver, f"{kind}:{driver}", exports=True, imports=True, **more)


CIRRUS = device("cirrus", "cirrus")
BOCHS = device("bochs", "bochs-drm")
CONTIG = device("vivid-contig", "vivid", contiguous=True)
VMALLOC = device("vivid-vmalloc", "vivid", cpu_only=True)
REASON = "reason: because drivers/gpu/drm/drm_prime.c says so"


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "expectations.yaml"
    path.write_text("imports:\n" + "".join(f"  - {{{row}, {REASON}}}\n" for row in rows))
    return path


def shared(more: str = "") -> str:
    return "outcome: shared, attaches: 1, maps: 1" + (f", {more}" if more else "")


def test_a_behaviour_is_of_a_driver_and_of_kernels(tmp_path: Path) -> None:
    path = table(tmp_path, shared())
    row = f'name: caches_map, driver: udmabuf, kernel: ">=6.12,<6.16", {REASON}'
    path.write_text(f"{path.read_text()}behaviours:\n  - {{{row}}}\n")
    found = load_expectations(path)

    def caches(driver: str, *release: int) -> bool:
        return found.behaves("caches_map", driver, Release(*release)) is not None

    assert caches("udmabuf", 6, 12) and caches("udmabuf", 6, 15)
    assert not caches("udmabuf", 6, 16) and not caches("udmabuf", 6, 11)
    assert not caches("vgem", 6, 12)
    with pytest.raises(ConfigError, match=r"no behaviour 'cache_map' .did you mean 'caches_map'"):
        found.behaves("cache_map", "udmabuf", Release(6, 12))
    path.write_text(path.read_text().replace(",<6.16", ",<6"))
    with pytest.raises(
        ConfigError, match=r"expectations.yaml:4: behaviours.*'>=6.12,<6': expected"
    ):
        load_expectations(path)


def test_every_behaviour_is_asked_for_by_a_test() -> None:
    asked = {
        name
        for file in paths.testsuites().rglob("*.py")
        for name in re.findall(r'\b(?:behaves\(|known\(\s*request,)\s*"(\w+)"', file.read_text())
    }

    assert {row.name for row in load_expectations().behaviours} == asked


def test_first_row_that_fits_counts(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "exporter: own, outcome: shared, attaches: 0, maps: 0",
        "importer: bochs-drm, outcome: refused, errno: EINVAL, attaches: 0, maps: 0",
        shared(),
    )
    expectations = load_expectations(path)
    own = expectations.of_import(BOCHS, BOCHS, Release(6, 12))
    assert (own.outcome, own.maps, own.line) == (Outcome.SHARED, 0, 2)
    assert expectations.of_import(CIRRUS, BOCHS, Release(6, 12)).what == "refused with EINVAL"
    assert expectations.of_import(BOCHS, CIRRUS, Release(6, 12)).maps == 1


def test_rows_are_chosen_by_kernel(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        shared('importer: cirrus, kernel: "<6.16"'),
        'importer: cirrus, kernel: ">=6.16", outcome: shared, attaches: 1, maps: 0',
    )
    expectations = load_expectations(path)
    assert expectations.of_import(BOCHS, CIRRUS, Release(6, 15)).maps == 1
    assert expectations.of_import(BOCHS, CIRRUS, Release(6, 16)).maps == 0
    assert expectations.of_import(BOCHS, CIRRUS, Release(7, 2)).maps == 0


def test_rows_are_chosen_by_how_the_importer_reaches_memory(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "importer: vivid, access: cpu, outcome: shared, attaches: 0, maps: 0",
        "importer: vivid, access: contiguous, outcome: either, errno: EFAULT, attaches: 1, maps: 1",
    )
    expectations = load_expectations(path)
    assert expectations.of_import(CIRRUS, VMALLOC, Release(6, 12)).access is Access.CPU
    luck = expectations.of_import(CIRRUS, CONTIG, Release(6, 12))
    assert luck.allows("shared", "")
    assert luck.allows("refused", "EFAULT")
    assert not luck.allows("refused", "EINVAL")
    assert str(luck) == "shared or refused with EFAULT (1 attach, 1 map)"


RELEASES = [*((6, minor) for minor in range(12, 20)), *((7, minor) for minor in range(4))]


@pytest.mark.parametrize("name", sorted(inventory.load_board_types()))
def test_every_pair_of_drivers_has_a_row_on_every_kernel_from_6_12_to_7_3(name: str) -> None:
    rows, board_type = load_expectations(), inventory.load_board_types()[name]
    for image in {board_type.image} | ({"reference-6.12"} if board_type.virtual else set()):
        found = inventory.devices(board_type, inventory.load_image_profile(image))
        pairs = [(a, b) for a in found if a.exports for b in found if b.imports]
        assert pairs or name == "generic-ssh"
        for (exporter, importer), release in product(pairs, RELEASES):
            rows.of_import(exporter, importer, Release(*release), board_type.features)


def test_bochs_and_shmem_importers_changed_at_6_13_and_6_17() -> None:
    rows = load_expectations()
    said = [str(rows.of_import(CIRRUS, BOCHS, Release(6, minor)).what) for minor in (12, 13, 17)]
    assert said == ["refused with EINVAL", "shared", "shared"]
    maps = [rows.of_import(BOCHS, CIRRUS, Release(6, minor)).maps for minor in (13, 16, 17)]
    assert maps == [1, 1, 0]


def test_pair_without_a_row_is_new(tmp_path: Path) -> None:
    expectations = load_expectations(table(tmp_path, shared("importer: cirrus")))
    with pytest.raises(NoExpectation, match=r"no row for cirrus .* imported by bochs") as caught:
        expectations.of_import(CIRRUS, BOCHS, Release(6, 12))
    assert not caught.value.observed
    seen = Seen("refused", "ENOSYS", 1, 0)
    with pytest.raises(NoExpectation, match=r"was refused with ENOSYS \(1 attach, 0 maps\)") as new:
        expectations.judge(CIRRUS, BOCHS, Release(6, 12), frozenset({"bounces"}), seen)
    assert new.value.observed == {
        "exporter": "cirrus",
        "importer": "bochs-drm",
        "access": "*",
        "board": "bounces",
        "kernel": "6.12",
        "outcome": "refused",
        "errno": "ENOSYS",
        "attaches": "1",
        "maps": "0",
    }


@pytest.mark.parametrize(
    ("seen", "met"),
    [
        (Seen("shared", "", 1, 1), True),
        (Seen("shared", "", 1, 0), False),
        (Seen("shared", "", 0, 0), False),
        (Seen("refused", "EINVAL", 1, 1), False),
    ],
)
def test_what_was_seen_is_held_against_the_row(tmp_path: Path, seen: Seen, met: bool) -> None:
    expectations = load_expectations(table(tmp_path, shared()))
    if met:
        expectations.judge(CIRRUS, BOCHS, Release(6, 12), frozenset(), seen)
        return
    with pytest.raises(AssertionError) as caught:
        expectations.judge(CIRRUS, BOCHS, Release(6, 12), frozenset(), seen)
    said = str(caught.value)
    assert f"cirrus into bochs was {seen} on Linux 6.12" in said
    assert "expected shared (1 attach, 1 map): because drivers/gpu/drm/drm_prime.c says so" in said
    assert said.endswith("(expectations.yaml:2)")


def test_what_may_be_either_may_fail_to_map(tmp_path: Path) -> None:
    said = "outcome: either, errno: EFAULT, unmapped_errno: EINVAL, attaches: 1, maps: 1"
    row = load_expectations(table(tmp_path, said)).of_import(CIRRUS, BOCHS, Release(6, 12))
    assert row.met_by(Seen("shared", "", 1, 1)) and row.met_by(Seen("refused", "EFAULT", 1, 1))
    assert row.met_by(Seen("refused", "EINVAL", 1, 0)) and row.met_by(
        Seen("refused", "EINVAL", 1, 1)
    )
    assert not row.met_by(Seen("refused", "EFAULT", 1, 0))
    assert not row.met_by(Seen("refused", "EINVAL", 1, 2))
    assert not row.met_by(Seen("refused", "EIO", 1, 0))
    told = "shared or refused with EFAULT or EINVAL of a failed map (1 attach, 1 map)"
    assert str(row) == told


def test_refusal_is_not_a_share(tmp_path: Path) -> None:
    rows = load_expectations(
        table(tmp_path, "outcome: refused, errno: ENOSYS, attaches: 1, maps: 0")
    )
    expected = rows.of_import(CIRRUS, BOCHS, Release(6, 12))
    assert expected.allows("refused", "ENOSYS")
    assert not expected.allows("shared", "")
    assert not expected.allows("refused", "")


@pytest.mark.parametrize(
    ("rows", "line", "said"),
    [
        (["outcome: shared, attaches: 1"], 2, "'maps' is missing"),
        (["outcome: shared, attaches: 1, maps: 2"], 2, "less than or equal to 1"),
        (["outcome: shred, attaches: 1, maps: 1"], 2, "'shared', 'refused' or 'either'"),
        (["outcome: refused, attaches: 1, maps: 1"], 2, "goes with the errno"),
        ([shared("errno: EINVAL")], 2, "goes with no errno"),
        (["outcome: refused, errno: EWHAT, attaches: 1, maps: 1"], 2, "'EWHAT' is no errno"),
        (["outcome: shared, attaches: 0, maps: 1"], 2, "not attached"),
        ([shared("unmapped_errno: EIO")], 2, "'either' only"),
        (["outcome: either, unmapped_errno: EWHAT, attaches: 1, maps: 1"], 2, "'EWHAT' is no"),
        (["outcome: either, attaches: 1, maps: 1"], 2, "goes with the errno"),
        ([shared("kernel: '6.12'")], 2, "expected '*'"),
        ([shared("kernel: '>=7.2,<6.12'")], 2, "no release is in this range"),
        ([shared("importr: cirrus")], 2, "did you mean 'importer'"),
        ([shared("importer: cirrus"), shared(), shared("importer: bochs-drm")], 4, "line 3 fits"),
        ([shared("kernel: '>=6.1'"), shared("kernel: '>=6.12,<7.2'")], 3, "never reached"),
    ],
)
def test_wrong_table_is_named_by_line(
    tmp_path: Path, rows: list[str], line: int, said: str
) -> None:
    path = table(tmp_path, *rows)
    with pytest.raises(ConfigError) as caught:
        load_expectations(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_row_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "expectations.yaml"
    path.write_text(f"imports:\n  - {{{shared()}}}\n")
    with pytest.raises(ConfigError, match="'reason' is missing"):
        load_expectations(path)


versions = st.tuples(st.integers(1, 20), st.integers(0, 30))


@given(versions, versions, versions)
def test_range_is_half_open(
    one: tuple[int, int], other: tuple[int, int], release: tuple[int, int]
) -> None:
    since, before = min(one, other), max(one, other)
    text = f">={since[0]}.{since[1]},<{before[0]}.{before[1]}"
    if since == before:
        with pytest.raises(ValueError, match="no release"):
            KernelRange.parse(text)
        return
    assert str(KernelRange.parse(text)) == text
    assert KernelRange.parse(text).contains(Release(*release)) == (since <= release < before)


@given(versions, versions)
def test_range_that_covers_another_contains_its_releases(
    bound: tuple[int, int], release: tuple[int, int]
) -> None:
    narrow = KernelRange.parse(f">={bound[0]}.{bound[1]}")
    wide = KernelRange.parse("*")
    assert wide.covers(narrow)
    assert not narrow.covers(wide)
    assert not narrow.contains(Release(*release)) or wide.contains(Release(*release))


@given(st.text(max_size=30))
def test_range_parser_raises_only_its_own_error(text: str) -> None:
    try:
        KernelRange.parse(text)
    except ValueError as error:
        assert "range" in str(error) or "expected" in str(error)
