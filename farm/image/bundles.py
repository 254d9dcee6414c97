"""Bundles: programs that a board is lent, in a folder that brings all they need.

A bundle is one ``tar.gz`` with ``bin/`` and ``lib/``. What is linked dynamically runs through the
``ld.so`` that comes with it, so the board's own user space does not matter; programs of x86-64 run
through box64, with their own libraries in ``x86/``. Bundles are cached below
``cache_dir()/bundles/`` under the hash of their recipe, with what they were made of.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from farm import paths
from farm.errors import ImageError
from farm.image import apt, cache
from farm.image.initramfs import needed_libraries
from farm.model import ImageProvenance

ARCHIVE = "bundle.tar.gz"
BUNDLE_FILE = "bundle.json"
LOADER = "ld-linux-aarch64.so.1"
"""Name of the dynamic loader of Debian's arm64 packages."""

LINE_BUFFERED = "libstdbuf.so"
"""Makes a program's output line-buffered, as on a terminal (coreutils, stdbuf(1)).

A program that forks with lines in its buffer prints them twice into a pipe: v4l2-compliance does.
"""
_BUFFERING = ("coreutils", "usr/libexec/coreutils/libstdbuf.so")

EMULATOR = "box64"
"""Program of a bundle that runs its others, where these are of x86-64.

It translates instructions; system calls go to the board's kernel as they are.
"""
_FOREIGN = "x86"
WRAPPED = (
    "libdl.so.2",
    "libgcc_s.so.1",
    "libglib-2.0.so.0",  # an x86-64 one of glibc 2.43 wants free_sized(), which box64 0.4.3 lacks
    "libm.so.6",
    "libpci.so.3",  # an x86-64 one wants ioperm(), which arm64 has not
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
)
"""Libraries that box64 takes from the machine instead of having them emulated."""
_NATIVE = (EMULATOR, "libgcc-s1", "libglib2.0-0t64", "libpci3")
_LIBRARY_PACKAGE = re.compile(r"z?lib(?!python)(?!.*-cross)[a-z0-9].*")
_ALWAYS = (LOADER, LINE_BUFFERED)
_METHOD = 1  # how this module packs; raise it when the result changes for the same recipe
_MEMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")

Maker = Callable[[Path], Sequence[ImageProvenance]]
"""Fills a folder with ``bin/`` and ``lib/`` and tells what of."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in the cache; ``sha256`` is its archive's."""

    name: str
    id: str
    archive: Path
    sha256: str
    programs: tuple[str, ...]
    loader: bool
    made_of: tuple[ImageProvenance, ...]

    def command(self, program: str, arguments: Sequence[str] = ()) -> list[str]:
        """Return the command line that runs a program from within the unpacked folder."""
        if program not in self.programs:
            raise ValueError(f"bundle {self.name} holds no program {program!r}")
        start = []
        if self.loader:
            setting, through = ["_STDBUF_O=L"], []
            if EMULATOR in self.programs and program != EMULATOR:
                setting += [f"BOX64_LD_LIBRARY_PATH={_FOREIGN}", "BOX64_LOG=0", "BOX64_NOBANNER=1"]
                through = [f"./bin/{EMULATOR}"]
            buffering = ["--preload", f"./lib/{LINE_BUFFERED}"]
            loader = [f"./lib/{LOADER}", *buffering, "--library-path", "lib"]
            start = ["env", *setting, *loader, *through]
        return [*start, f"./bin/{program}", *arguments]

    @property
    def provenance(self) -> dict[str, object]:
        """Return as plain JSON what it is and what it was made of."""
        return {
            "bundle": self.name,
            "id": self.id,
            "sha256": self.sha256,
            "made_of": [asdict(row) for row in self.made_of],
        }


def bundles_dir() -> Path:
    """Return the folder of cached bundles."""
    folder = paths.cache_dir() / "bundles"
    folder.mkdir(exist_ok=True)
    return folder


def obtain(
    name: str, recipe: object, make: Maker, *, progress: apt.Progress = lambda _: None
) -> Bundle:
    """Return the bundle of a recipe; ``make`` fills it if the cache lacks it.

    ``recipe`` is plain JSON: all that decides what the bundle holds.

    Raises:
        ImageError: it cannot be made, or there is no disk space.
    """
    content = json.dumps([_METHOD, name, recipe], sort_keys=True)
    folder = bundles_dir() / hashlib.sha256(content.encode()).hexdigest()[:16]
    try:
        if (known := _read(folder)) is not None:
            return known
        with cache.locked(bundles_dir(), progress, "makes a bundle"):
            if (known := _read(folder)) is not None:
                return known  # another process made it while we waited
            cache.sweep_drafts(bundles_dir())
            progress(f"making the bundle {name}")
            return _make(name, folder, make)
    except OSError as error:
        raise ImageError(
            f"bundle {name} could not be stored: {error}",
            next_step=f"check that there is room in {bundles_dir()}, and that it can be written",
        ) from error


def debian(
    name: str,
    packages: Sequence[str],
    programs: Mapping[str, str],
    *,
    suite: str = "trixie",
    progress: apt.Progress = lambda _: None,
) -> Bundle:
    """Return programs of Debian's arm64 packages with the libraries that they need.

    ``programs`` gives for each name the file in the packages: ``usr/bin/v4l2-compliance``.

    Raises:
        ImageError: no mirror, or a package, program or library is gone.
    """

    def make(work: Path) -> Sequence[ImageProvenance]:
        stored = cache.packages_dir()
        with cache.building(progress), apt.apt_root(suite, stored) as archive:
            progress(f"reading the package lists of Debian {suite}")
            archive.update()
            found = archive.with_dependencies([*packages, _BUFFERING[0]])
            files = archive.fetch(found, stored, progress)
        for file in files:
            apt.unpack(file, work / "unpacked")
        _pick(work / "unpacked", work, programs, also=_ALWAYS)
        shutil.rmtree(work / "unpacked")
        return [package.provenance for package in found]

    recipe = {
        "suite": suite,
        "packages": [*packages, *_BUFFERING],
        "programs": dict(programs),
    }
    return obtain(name, recipe, make, progress=progress)


def emulated(
    name: str,
    packages: Sequence[str],
    programs: Mapping[str, str],
    *,
    suite: str,
    progress: apt.Progress = lambda _: None,
) -> Bundle:
    """Return programs of Debian's amd64 packages, with box64 of its arm64 ones to run them.

    For what Debian does not build for arm64. ``programs`` is as for :func:`debian`.

    Raises:
        ImageError: no mirror, or a package, program or library is gone.
    """

    def make(work: Path) -> Sequence[ImageProvenance]:
        stored = cache.packages_dir()
        made_of: list[ImageProvenance] = []
        wanted = {"amd64": tuple(packages), "arm64": (*_NATIVE, _BUFFERING[0])}
        for architecture, names in wanted.items():
            with (
                cache.building(progress),
                apt.apt_root(suite, stored, architecture=architecture) as archive,
            ):
                progress(f"reading the package lists of Debian {suite} for {architecture}")
                archive.update()
                found = [
                    package
                    for package in archive.with_dependencies(names)
                    if package.name in names or _LIBRARY_PACKAGE.fullmatch(package.name)
                ]
                files = archive.fetch(found, stored, progress)
            for file in files:
                apt.unpack(file, work / architecture)
            made_of += [package.provenance for package in found]
        _pick(work / "amd64", work, programs, libraries=_FOREIGN)
        native = {EMULATOR: f"usr/bin/{EMULATOR}"}
        _pick(work / "arm64", work, native, also=(*_ALWAYS, *WRAPPED))
        for architecture in wanted:
            shutil.rmtree(work / architecture)
        return made_of

    recipe = {
        "suite": suite,
        "packages": [*packages, *_NATIVE, *_BUFFERING],
        "programs": dict(programs),
        "wrapped": WRAPPED,
    }
    return obtain(name, recipe, make, progress=progress)


def _pick(
    unpacked: Path,
    work: Path,
    programs: Mapping[str, str],
    *,
    libraries: str = "lib",
    also: Sequence[str] = (),
) -> None:
    """Copy programs and the libraries that they and these need, transitively.

    Libraries go to the folder ``libraries``; ``also`` those that nothing names as needed.
    """
    known: dict[str, Path] = {}
    for top in ("lib", "usr/lib"):
        for path in sorted((unpacked / top).rglob("*.so*")):
            known.setdefault(path.name, path)
    known[LINE_BUFFERED] = unpacked / _BUFFERING[1]
    (work / "bin").mkdir(exist_ok=True)
    (work / libraries).mkdir()
    waiting: list[tuple[str, str]] = []
    for name, file in programs.items():
        source = unpacked / file
        if not source.is_file():
            raise ImageError(f"no package of the bundle holds /{file}")
        shutil.copyfile(source, work / "bin" / name)
        waiting += [(file, library) for library in needed_libraries(source.read_bytes())]
    if waiting:
        waiting += [("every program", library) for library in also]
    while waiting:
        user, name = waiting.pop()
        if (work / libraries / name).exists():
            continue
        found = known.get(name)
        real = _inside(unpacked, found) if found else None
        if real is None:
            raise ImageError(f"{user} needs {name}, which no package of the bundle brings")
        shutil.copyfile(real, work / libraries / name)
        waiting += [(name, other) for other in needed_libraries(real.read_bytes())]


def _inside(root: Path, path: Path) -> Path | None:
    """Return the file that a path below ``root`` leads to; links count from there."""
    for _ in range(10):
        if not path.is_symlink():
            return path if path.is_file() else None
        target = str(path.readlink())
        path = root / target.lstrip("/") if target.startswith("/") else path.parent / target
    return None


def _make(name: str, folder: Path, make: Maker) -> Bundle:
    with cache.draft(bundles_dir()) as draft:
        work, made = draft / "work", draft / "made"
        work.mkdir()
        made.mkdir()
        made_of = make(work)
        programs = sorted(path.name for path in (work / "bin").iterdir())
        _pack(work, made / ARCHIVE)
        digest = hashlib.sha256((made / ARCHIVE).read_bytes()).hexdigest()
        manifest = {
            "name": name,
            "sha256": digest,
            "programs": programs,
            "loader": (work / "lib" / LOADER).is_file(),
            "made_of": [asdict(row) for row in made_of],
        }
        (made / BUNDLE_FILE).write_text(json.dumps(manifest, indent=1) + "\n")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)  # what is there cannot be read
        made.rename(folder)
    found = _read(folder)
    assert found is not None
    return found


def _pack(work: Path, target: Path) -> None:
    """Write an archive that depends on names and contents only."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in _members(work):
            entry = tarfile.TarInfo(path.relative_to(work).as_posix())
            entry.size, entry.mode = path.stat().st_size, 0o755
            with path.open("rb") as stream:
                archive.addfile(entry, stream)


def _members(work: Path) -> Iterable[Path]:
    for top in ("bin", "lib", _FOREIGN):
        for path in sorted((work / top).glob("*")):
            if not _MEMBER.fullmatch(path.name):
                raise ImageError(f"a bundle takes no file named {path.name!r}")
            yield path


def _read(folder: Path) -> Bundle | None:
    archive = folder / ARCHIVE
    try:
        content = json.loads((folder / BUNDLE_FILE).read_bytes())
        bundle = Bundle(
            name=str(content["name"]),
            id=folder.name,
            archive=archive,
            sha256=str(content["sha256"]),
            programs=tuple(map(str, content["programs"])),
            loader=bool(content["loader"]),
            made_of=tuple(ImageProvenance(**row) for row in content["made_of"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not os.access(archive, os.R_OK):
        return None
    cache.touch(archive)
    return bundle
