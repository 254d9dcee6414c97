"""Keeping the caches in bounds: what was used least goes first, what is in use stays.

Counted are images, firmware, built kernels, bundles, fetched packages, payloads, their compiler's
cache, logs of failed builds, and what exact boards answered. What killed builders left half-made
goes in any case. Device trees stay: they are small, and boards of a running lab boot with them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from farm import paths
from farm.errors import ImageError, UsageError
from farm.image import bundles, cache, kernel
from farm.image.apt import Progress
from farm.image.firmware import FIRMWARE_FILE, firmware_dir

LIMIT_VARIABLE = "FARM_CACHE_LIMIT"
DEFAULT_LIMIT = 20 << 30

_PAYLOAD_BUILD_S = 3600.0  # no build of a payload takes longer
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)i?B?", re.I)
_SCALE = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache: its kind, size in bytes, and when it was used last (epoch)."""

    kind: str
    name: str
    path: Path
    size: int
    used: float


def parse_size(text: str, where: str) -> int:
    """Return a number of bytes: ``20G``, ``500M``, ``1048576``; K, M, G, T are powers of 1024.

    ``where`` says for an error where it stands.

    Raises:
        UsageError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{where}: {text!r} is no size", next_step="write it as 20G or 500M")
    return int(match[1]) << _SCALE[match[2].upper()]


def limit() -> int:
    """Return the size limit of the caches in bytes, from ``FARM_CACHE_LIMIT`` or the default.

    Raises:
        UsageError: the variable holds no size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    return parse_size(text, LIMIT_VARIABLE) if text else DEFAULT_LIMIT


def entries() -> list[Entry]:
    """Return what is in the caches, what was used least first."""
    found: list[Entry] = []
    for folder in cache.images_dir().glob(f"*/{cache.MANIFEST}"):
        found += _entry("image", folder.parent, folder.parent / cache.INITRD)
    for manifest in cache.kernels_dir().glob(f"*/{kernel.MANIFEST}"):
        found += _entry("kernel", manifest.parent, manifest)
    for firmware in firmware_dir().glob(f"*/{FIRMWARE_FILE}"):
        found += _entry("firmware", firmware.parent, firmware)
    for manifest in bundles.bundles_dir().glob(f"*/{bundles.BUNDLE_FILE}"):
        found += _entry("bundle", manifest.parent, manifest.parent / bundles.ARCHIVE)
    for file in cache.packages_dir().glob("*.deb"):
        found += _entry("package", file, file)
    for binary in _payloads().glob("*/payload"):
        found += _entry("payload", binary.parent, binary.parent)
    for log in (paths.cache_dir() / "logs").glob("*.log"):
        found += _entry("log", log, log)
    compiled = paths.cache_dir() / "zig"
    found += _entry("compiler's cache", compiled, compiled)
    for answer in paths.answers_dir().glob("*/*.json"):
        found += _entry("answer", answer, answer)
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def trim(keep: Collection[str]) -> None:
    """Keep the caches within their :func:`limit`, unless somebody builds just now.

    Raises:
        UsageError: ``FARM_CACHE_LIMIT`` holds no size.
    """
    allowed = limit()
    if sum(entry.size for entry in entries()) > allowed:
        with contextlib.suppress(BlockingIOError):
            collect(allowed, keep=keep, wait=False)


def collect(
    limit: int,
    *,
    keep: Collection[str] = (),
    dry_run: bool = False,
    wait: bool = True,
    progress: Progress = lambda _: None,
) -> list[Entry]:
    """Drop what was used least until the caches fit into ``limit`` bytes; return what went.

    ``keep`` are ids of images and firmware in use. With ``dry_run`` nothing goes.

    Raises:
        BlockingIOError: somebody builds just now, and the caller will not ``wait``.
    """
    with (
        cache.locked(bundles.bundles_dir(), progress, "makes a bundle", wait=wait),
        cache.locked(cache.kernels_dir(), progress, "builds a kernel", wait=wait),
        cache.locked(cache.images_dir(), progress, "builds an image", wait=wait),
    ):
        if not dry_run:
            cache.sweep()
            cache.sweep_drafts(cache.kernels_dir())
            cache.sweep_drafts(bundles.bundles_dir())
            cache.sweep_drafts(_payloads(), older_s=_PAYLOAD_BUILD_S)
        present = entries()
        total = sum(entry.size for entry in present)
        gone: list[Entry] = []
        for entry in present:
            if total <= limit:
                break
            if entry.name in keep:
                continue
            if not dry_run:
                _remove(entry.path)
            total -= entry.size
            gone.append(entry)
        return gone


def _payloads() -> Path:
    return paths.cache_dir() / "payload"


def _entry(kind: str, path: Path, used: Path) -> list[Entry]:
    try:
        return [Entry(kind, path.name, path, _size(path), used.stat().st_mtime)]
    except OSError:
        return []  # it went meanwhile


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    if (path / kernel.MANIFEST).is_file():  # thousands of headers, counted once
        with contextlib.suppress(ImageError):
            return kernel.read(path).size
    return sum(file.lstat().st_size for file in path.rglob("*"))


def _remove(path: Path) -> None:
    if path.is_dir():
        cache.discard(path)
    else:
        path.unlink(missing_ok=True)
