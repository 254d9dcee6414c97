"""Kernel selftests about buffer sharing, built from the source of the kernel that a board runs.

They are linked statically by the payload's compiler, so any user space does. What they need of the
kernel's own headers is taken from its ``include/uapi``; types and the C library are the compiler's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm import crosscompiler, paths
from farm.errors import ImageError
from farm.image import apt, bundles, cache
from farm.image.apt import Package
from farm.image.bundles import Bundle
from farm.image.steps import Steps
from farm.model import ImageProvenance

_METHOD = 1  # how this module builds; raise it when the result changes for the same source
_TREE = "tools/testing/selftests"
_WANTED = (
    f"*/{_TREE}/dmabuf-heaps/*",
    f"*/{_TREE}/drivers/dma-buf/*",
    f"*/{_TREE}/sync/*",
    f"*/{_TREE}/kselftest*.h",
    "*/include/uapi/linux/*",
    "*/include/uapi/drm/*",
)
_FLAGS = (
    "-static",
    "-O2",
    "-s",
    "-pthread",
    "-D_GNU_SOURCE=",  # as lib.mk does
    "-D_LARGEFILE64_SOURCE",  # udmabuf.c wants off64_t, which musl has no longer by default
    "-D__user=",  # headers of include/uapi are not stripped of it before they are installed
    "-D__EXPORTED_HEADERS__",
    "-w",
)
_UAPI = re.compile(r'#\s*include\s*[<"](linux/[a-z0-9_-]+\.h)[>"]')
_COMPILERS = frozenset({"linux/types.h", "linux/fcntl.h", "linux/compiler.h"})
"""Headers of the compiler's own that the kernel's would not fit beside."""
_KERNEL = re.compile(r"linux-(?:image|binary)-(\d+\.\d+)[a-z0-9.+~-]*")
_SOURCE = re.compile(r"linux-source-(\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class Selftest:
    """A program of ``tools/testing/selftests``: its folder there, and the sources of its folder."""

    folder: str
    sources: str
    feature: str

    @property
    def program(self) -> str:
        """Return the binary's name."""
        return "sync_test" if self.sources == "*.c" else Path(self.sources).stem


SELFTESTS: Mapping[str, Selftest] = {
    "dmabuf-heaps:dmabuf-heap": Selftest("dmabuf-heaps", "dmabuf-heap.c", "heaps"),
    "drivers/dma-buf:udmabuf": Selftest("drivers/dma-buf", "udmabuf.c", "udmabuf"),
    "sync:sync_test": Selftest("sync", "*.c", "sw_sync"),
}
"""By the name that ``run_kselftest.sh -t`` knows, with the board feature that each is about."""


@dataclass(frozen=True, slots=True)
class KernelSource:
    """The package that a board's kernel was made from; ``sha256`` is empty where only named."""

    package: str
    version: str
    sha256: str = ""


def source_of(image: Sequence[ImageProvenance]) -> KernelSource | None:
    """Return the source of the kernel of an image, told from what it was made of."""
    for row in image:
        if _SOURCE.fullmatch(row.package):
            return KernelSource(row.package, row.version, row.sha256)
    for row in image:
        if match := _KERNEL.fullmatch(row.package):
            return KernelSource(f"linux-source-{match[1]}", row.version)
    return None


def obtain(
    source: KernelSource,
    suites: Sequence[str],
    *,
    progress: apt.Progress = lambda _: None,
) -> Bundle:
    """Return the selftests of a kernel, cross-built if the cache lacks them.

    Selftests that a kernel does not have, or that print no TAP yet, are left out. ``suites`` are
    Debian's that may have the source; where they have it in another revision only, that is taken,
    and the bundle's provenance tells which.

    Raises:
        ImageError: the archive has no such source, or it does not build; its log is kept.
    """
    compiler = crosscompiler.version("the selftests need")

    def make(work: Path) -> Sequence[ImageProvenance]:
        package, file = _fetch(source, suites, progress)
        tree = work / "tree"
        tree.mkdir()
        progress(f"unpacking the selftests of {package.name} {package.version}")
        _unpack(file, package, tree)
        log = paths.cache_dir() / "logs" / f"kselftests-{package.version}.log"
        steps = Steps(tree, log, progress, no_room=_no_room)
        (work / "bin").mkdir()
        for test in SELFTESTS.values():
            _compile(test, tree, work / "bin", steps)
        log.unlink(missing_ok=True)
        shutil.rmtree(tree)
        return [package.provenance, ImageProvenance("compiler", compiler, "arm64", "")]

    recipe = {
        "source": [source.package, source.version, source.sha256],
        "flags": _FLAGS,
        "compiler": compiler,
        "method": _METHOD,
    }
    return bundles.obtain(f"kselftests-{source.version}", recipe, make, progress=progress)


def _fetch(
    source: KernelSource, suites: Sequence[str], progress: apt.Progress
) -> tuple[Package, Path]:
    stored = cache.packages_dir()
    at_hand = stored / f"{source.sha256}.deb"
    if source.sha256 and at_hand.is_file():
        size = at_hand.stat().st_size
        return Package(source.package, source.version, "all", "", size, source.sha256, ""), at_hand
    found: list[tuple[str, Package]] = []
    with cache.building(progress):
        for suite in suites:
            with apt.apt_root(suite, stored) as archive:
                progress(f"reading the package lists of Debian {suite}")
                archive.update()
                try:
                    package = archive.lookup(source.package)
                except apt.PackageGone:
                    continue
                if package.version == source.version:
                    return package, archive.fetch([package], stored, progress)[0]
                found.append((suite, package))
        for suite, package in found[:1]:
            progress(f"{source.package} {source.version} is gone, taking {package.version}")
            with apt.apt_root(suite, stored) as archive:
                archive.update()
                return package, archive.fetch([package], stored, progress)[0]
    raise apt.PackageGone(
        f"the kernel's source, {source.package} {source.version}, is not in Debian's "
        f"{', '.join(suites)}",
        package=source.package,
        next_step="its selftests cannot be built; other suites run all the same",
    )


def _unpack(file: Path, package: Package, tree: Path) -> None:
    """Unpack what the selftests are made of, and nothing else of a kernel's 80,000 files."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as outer:
            for member in outer:
                if re.fullmatch(r"\./usr/src/linux-source-[0-9.]+\.tar\.xz", member.name):
                    inner = outer.extractfile(member)
                    assert inner is not None
                    with (tree / "source.tar.xz").open("wb") as stream:
                        shutil.copyfileobj(inner, stream, 1 << 20)
    archive = tree / "source.tar.xz"
    if not archive.is_file():
        raise ImageError(
            f"{package.name} {package.version} holds no source archive",
            next_step="it should be a package linux-source-VERSION of Debian's",
        )
    done = subprocess.run(
        ["tar", "-xJf", archive.name, "--strip-components=1", "--no-same-owner", "--wildcards",
         *_WANTED],
        cwd=tree, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    archive.unlink()
    if done.returncode not in (0, 2) or not (tree / _TREE).is_dir():  # 2: a pattern found nothing
        raise ImageError(f"{package.name} {package.version}: tar says {done.stderr[-200:].strip()}")


def _compile(test: Selftest, tree: Path, target: Path, steps: Steps) -> None:
    folder = tree / _TREE / test.folder
    sources = sorted(folder.glob(test.sources))
    texts = [path.read_text(errors="replace") for path in [*sources, *folder.glob("*.h")]]
    if not sources or not any("ksft_" in text for text in texts):
        return  # this kernel has no such selftest, or it prints no TAP
    headers = tree / "headers" / test.program
    shutil.copytree(tree / "include/uapi/drm", headers / "drm", ignore=_no_types)
    for name in {name for text in texts for name in _UAPI.findall(text)} - _COMPILERS:
        found = tree / "include/uapi" / name
        if found.is_file():
            (headers / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, headers / name)
    steps.run(
        f"compile {test.folder}",
        ["env", *(f"{name}={value}" for name, value in crosscompiler.caches().items()),
         *crosscompiler.COMMAND, "-target", "aarch64-linux-musl", *_FLAGS,
         f"-ffile-prefix-map={tree}=", "-isystem", str(headers), f"-I{tree / _TREE}", "-o",
         str(target / test.program), *map(str, sources)],
    )  # fmt: skip


def _no_types(folder: str, names: list[str]) -> list[str]:
    del folder
    return [name for name in names if not name.endswith(".h")]


def _no_room() -> ImageError:
    return cache.no_room(bundles.bundles_dir(), "unpacking and building kernel selftests")
