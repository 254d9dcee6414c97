"""Firmware of virtual boards, such as U-Boot: one file of one Debian package, cached.

Below ``cache_dir()/firmware/``: one folder per suite, package and file, with the file and what is
known of its package. It appears by rename, whole or not at all; without it, the archive is asked
for the package that it has now.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from farm import paths
from farm.errors import ImageError
from farm.image import apt, cache
from farm.inventory import FirmwareSource
from farm.model import ImageProvenance

FIRMWARE_FILE = "firmware.bin"
"""Name of the firmware itself in its folder of the cache."""

_PACKAGE = "package.json"


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware file for QEMU's ``-bios``, and the package that it comes from."""

    path: Path
    package: ImageProvenance

    @property
    def identity(self) -> str:
        """Name it as hardware identities do: ``u-boot-qemu-2025.01-3``."""
        return f"{self.package.package}-{self.package.version}"


def firmware_dir() -> Path:
    """Return the folder of cached firmware."""
    folder = paths.cache_dir() / "firmware"
    folder.mkdir(exist_ok=True)
    return folder


def fetch_firmware(
    source: FirmwareSource, *, progress: Callable[[str], None] = lambda _: None
) -> Firmware:
    """Return a firmware, fetched from the archive if the cache lacks it.

    Raises:
        ImageError: no mirror, the package or its file is gone, or no disk space.
    """
    key = json.dumps([source.suite, source.package, source.file])
    folder = firmware_dir() / hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        if (known := _read(folder)) is not None:
            return known
        with cache.building(progress):
            if (known := _read(folder)) is not None:
                return known  # another process fetched it while we waited
            return _fetch(source, folder, progress)
    except OSError as error:
        raise ImageError(
            f"firmware package {source.package!r} could not be stored: {error}",
            next_step=f"check that there is room in {firmware_dir()}, and that it can be written",
        ) from error


def _read(folder: Path) -> Firmware | None:
    path = folder / FIRMWARE_FILE
    try:
        package = ImageProvenance(**json.loads((folder / _PACKAGE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    if not path.is_file():
        return None
    cache.touch(path)
    return Firmware(path, package)


def _fetch(source: FirmwareSource, folder: Path, progress: apt.Progress) -> Firmware:
    stored = cache.packages_dir()
    with apt.apt_root(source.suite, stored) as archive:
        progress(f"reading the package lists of Debian {source.suite}")
        archive.update()
        package = archive.lookup(source.package)
        (file,) = archive.fetch([package], stored, progress)
    with cache.draft(cache.images_dir()) as work:
        apt.unpack(file, work / "unpacked")
        wanted = work / "unpacked" / source.file
        if not wanted.is_file():
            raise ImageError(
                f"package {package.name} {package.version} holds no file /{source.file}",
                next_step="correct 'farm: virtual: firmware: file' in the board config",
            )
        made = work / "made"
        made.mkdir()
        shutil.copyfile(wanted, made / FIRMWARE_FILE)
        (made / _PACKAGE).write_text(json.dumps(asdict(package.provenance), indent=1) + "\n")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)  # what is there cannot be read
        made.rename(folder)
    found = _read(folder)
    assert found is not None
    return found
