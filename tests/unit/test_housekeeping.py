"""Keeping the caches in bounds: what goes, in which order, and what stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from farm.errors import UsageError
from farm.image import cache, housekeeping
from farm.image.bundles import ARCHIVE, BUNDLE_FILE, bundles_dir
from farm.image.firmware import FIRMWARE_FILE, firmware_dir
from farm.image.kernel import IMAGE, MANIFEST

MB = 1 << 20


def put(path: Path, size: int, used: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size)
    os.utime(path, (used, used))
    return path


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old package of 4 MiB, an image of 3, a kernel of 2 and a newer package of 1."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    put(cache.packages_dir() / f"{'a' * 64}.deb", 4 * MB, 1000)
    put(cache.images_dir() / "0123456789abcdef" / cache.MANIFEST, 0, 9000)
    put(cache.images_dir() / "0123456789abcdef" / cache.INITRD, 3 * MB, 2000)
    manifest = put(cache.kernels_dir() / "k" / MANIFEST, 0, 0)
    put(cache.kernels_dir() / "k" / IMAGE, 1, 0)
    source = ["linux-source-6.12", "6.12.1-1", "all", "0" * 64]
    fields = {"release": "6.12.1", "source": source, "compiler": "c", "config_sha256": "0" * 64}
    manifest.write_text(json.dumps({"schema": 1, **fields, "size": 2 * MB}))
    os.utime(manifest, (3000, 3000))
    put(cache.packages_dir() / f"{'b' * 64}.deb", MB, 4000)
    return tmp_path


def test_answers_of_exact_boards_count(caches: Path) -> None:
    put(caches / "farm" / "exact" / "ab" / "cd.json", MB, 500)
    first = housekeeping.entries()[0]
    assert (first.kind, first.size) == ("answer", MB)


def test_bundles_count(caches: Path) -> None:
    folder = bundles_dir() / "0123456789abcdef"
    put(folder / ARCHIVE, MB, 600)
    put(folder / BUNDLE_FILE, 0, 9000)
    first = housekeeping.entries()[0]
    assert (first.kind, first.size, first.path) == ("bundle", MB, folder)


def test_payloads_their_compiler_s_cache_and_logs_count(caches: Path) -> None:
    folder = caches / "farm"
    os.utime(put(folder / "payload" / "ab" / "payload", MB, 100).parent, (100, 100))
    put(folder / "logs" / "reference.log", MB, 200)
    put(folder / "zig" / "o" / "deep" / "a.o", MB, 300)
    os.utime(folder / "zig", (300, 300))
    first = housekeeping.entries()[:3]
    assert [entry.kind for entry in first] == ["payload", "log", "compiler's cache"]
    assert all(MB <= entry.size < 2 * MB for entry in first)
    housekeeping.collect(0)
    assert kinds() == []


def kinds() -> list[str]:
    return [entry.kind for entry in housekeeping.entries()]


def test_what_was_used_least_goes_first(caches: Path) -> None:
    assert kinds() == ["package", "image", "kernel", "package"]
    assert [entry.kind for entry in housekeeping.collect(10 * MB)] == []
    assert [entry.kind for entry in housekeeping.collect(6 * MB)] == ["package"]
    assert [entry.kind for entry in housekeeping.collect(MB)] == ["image", "kernel"]
    assert kinds() == ["package"]
    assert not (cache.kernels_dir() / "k").exists()
    housekeeping.collect(0)
    assert kinds() == []


def test_an_image_in_use_stays(caches: Path) -> None:
    gone = housekeeping.collect(0, keep={"0123456789abcdef"})
    assert [entry.kind for entry in gone] == ["package", "kernel", "package"]
    assert kinds() == ["image"]


def test_firmware_counts_and_stays_while_it_is_in_use(caches: Path) -> None:
    put(firmware_dir() / "fedcba9876543210" / FIRMWARE_FILE, MB, 500)
    assert kinds()[0] == "firmware"
    assert "firmware" not in [e.kind for e in housekeeping.collect(0, keep={"fedcba9876543210"})]
    assert [entry.kind for entry in housekeeping.collect(0)] == ["firmware"]


def test_a_dry_run_removes_nothing(caches: Path) -> None:
    (cache.images_dir() / f"{cache.DRAFT}x").mkdir()
    assert len(housekeeping.collect(0, dry_run=True)) == 4
    assert len(kinds()) == 4
    assert (cache.images_dir() / f"{cache.DRAFT}x").exists()


def test_half_made_things_go_in_any_case(caches: Path) -> None:
    for folder in (cache.images_dir(), cache.kernels_dir(), cache.packages_dir()):
        (folder / f"{cache.DRAFT}x" / "deep").mkdir(parents=True)
    assert housekeeping.collect(1 << 40) == []
    for folder in (cache.images_dir(), cache.kernels_dir(), cache.packages_dir()):
        assert not list(folder.glob(f"{cache.DRAFT}*"))


def test_half_made_payloads_go_once_nobody_can_be_making_them(caches: Path) -> None:
    drafts = [caches / "farm" / "payload" / f"{cache.DRAFT}{name}" for name in ("old", "young")]
    for draft in drafts:
        draft.mkdir(parents=True)
    os.utime(drafts[0], (1000, 1000))
    housekeeping.collect(1 << 40)
    assert [draft.exists() for draft in drafts] == [False, True]


def test_trimming_leaves_a_builder_alone(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(housekeeping.LIMIT_VARIABLE, "1M")
    with cache.building():
        housekeeping.trim(set())
    assert len(kinds()) == 4
    housekeeping.trim(set())
    assert kinds() == ["package"]


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("2K", 2048), ("20G", 20 << 30), ("1 MiB", None)]
)
def test_sizes(text: str, size: int | None) -> None:
    if size is None:
        with pytest.raises(UsageError, match="--limit: '1 MiB' is no size"):
            housekeeping.parse_size(text, "--limit")
    else:
        assert housekeeping.parse_size(text, "--limit") == size
