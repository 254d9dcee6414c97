"""Kernels built from Debian's source packages: allnoconfig, config fragments, a cross compiler.

A built kernel is kept below ``cache_dir()/kernels/`` under the hash of its source package, its
merged configuration and its compiler: the bootable ``Image``, the installed modules, the final
``config``, and in ``build/`` what modules outside the tree are built with. It appears by rename,
whole or not at all; the log of a step that failed stays in ``cache_dir()/logs/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm import paths
from farm.errors import ImageError
from farm.image import apt, cache
from farm.image.apt import Package, Progress
from farm.image.kconfig import Fragments
from farm.image.steps import Steps
from farm.model import ImageProvenance

COMPILER = "aarch64-linux-gnu-gcc"
TOOLS: Mapping[str, str] = {
    COMPILER: "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-ld": "binutils-aarch64-linux-gnu",
    "gcc": "gcc",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "tar": "tar",
    "xz": "xz-utils",
}
"""Commands that building a kernel needs, and the Debian packages that have them."""

CONFIG = "config"
IMAGE = "Image"
MODULES = "modules"
TREE = "build"
MANIFEST = "kernel.json"
_METHOD = 1  # how this module builds; raise it when the result changes for the same inputs
_ROOM = 5 << 30
_UNUSED = (
    "*/drivers/gpu/drm/amd/*.[ch]",
    "*/tools/testing/*",
    "*/Documentation/*.rst",
    "*/Documentation/*.txt",
    "*/Documentation/*.yaml",
)
_TREE_TOP = ("Makefile", "Kconfig", ".config", "Module.symvers")
_TREE_FOLDERS = ("include", "scripts", "arch/arm64/include")


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """A built kernel in the cache; ``compiler`` is its own words about itself; size in bytes."""

    id: str
    folder: Path
    release: str
    source: ImageProvenance
    compiler: str
    config_sha256: str
    size: int

    @property
    def image(self) -> Path:
        """Return the file that boots."""
        return self.folder / IMAGE

    @property
    def modules(self) -> Path:
        """Return the folder ``lib/modules/RELEASE``."""
        return self.folder / MODULES / "lib" / "modules" / self.release

    @property
    def tree(self) -> Path:
        """Return the folder that modules are built against: ``make -C TREE M=FOLDER modules``."""
        return self.folder / TREE

    @property
    def provenance(self) -> tuple[ImageProvenance, ...]:
        """Return what an image records of it: its source package, and compiler with config."""
        config = ImageProvenance("kernel config", self.compiler, "arm64", self.config_sha256)
        return (self.source, config)


def check_tools() -> None:
    """Make sure that a kernel can be built on this machine.

    Raises:
        ImageError: commands are missing; the message names them all.
    """
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise ImageError(
            f"building a kernel needs {', '.join(missing)}, which this machine lacks",
            next_step="run 'make setup-reference', or as root: "
            f"apt-get install --no-install-recommends {packages}",
        )


def compiler() -> str:
    """Return the cross compiler's first line of ``--version``.

    Raises:
        ImageError: it is missing, or does not answer.
    """
    check_tools()
    done = subprocess.run(
        [COMPILER, "--version"], capture_output=True, text=True, errors="replace", check=False
    )
    line = done.stdout.partition("\n")[0].strip()
    if done.returncode != 0 or not line:
        raise ImageError(
            f"{COMPILER} --version does not answer (exit code {done.returncode})",
            next_step="install gcc-aarch64-linux-gnu again",
        )
    return line


def obtain(
    package: Package, file: Path, fragments: Fragments, *, name: str, progress: Progress
) -> BuiltKernel:
    """Return the kernel built from a fetched source package; built here if the cache lacks it.

    ``name`` is the profile's, for messages and the log's name. Takes minutes, and says how many.

    Raises:
        ImageError: a tool is missing, no disk space, or a step failed; its log is kept.
        ConfigError: an option of a fragment does not hold for this kernel.
    """
    words = compiler()
    content = [package.sha256, fragments.text, words, _METHOD]
    kernel_id = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    folder = cache.kernels_dir() / kernel_id
    if (folder / MANIFEST).is_file():  # whole, as it got there by a rename: no need to wait
        cache.touch(folder / MANIFEST)
        return read(folder)
    with cache.locked(cache.kernels_dir(), progress, "builds a kernel"):
        if (folder / MANIFEST).is_file():
            cache.touch(folder / MANIFEST)
            return read(folder)
        cache.sweep_drafts(cache.kernels_dir())
        if shutil.disk_usage(cache.kernels_dir()).free < _ROOM:
            raise no_room()
        with cache.draft(cache.kernels_dir()) as draft:
            log = paths.cache_dir() / "logs" / f"{name}-{kernel_id}.log"
            steps = Steps(draft, log, progress, no_room=no_room)
            made = _compile(package, file, fragments, steps)
            release = _release(made)
            manifest = {
                "schema": 1,
                "release": release,
                "source": [package.name, package.version, package.architecture, package.sha256],
                "compiler": words,
                "size": sum(p.stat().st_size for p in made.rglob("*") if p.is_file()),
                "config_sha256": hashlib.sha256((made / CONFIG).read_bytes()).hexdigest(),
            }
            (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            made.rename(folder)
            log.unlink(missing_ok=True)
        return read(folder)


def read(folder: Path) -> BuiltKernel:
    """Return the kernel that a folder of the cache holds.

    Raises:
        ImageError: it is damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if not (folder / IMAGE).stat().st_size:
            raise ValueError(f"{IMAGE} is empty")
        return BuiltKernel(
            id=folder.name,
            folder=folder,
            release=str(manifest["release"]),
            source=ImageProvenance(*map(str, manifest["source"])),
            compiler=str(manifest["compiler"]),
            config_sha256=str(manifest["config_sha256"]),
            size=int(manifest["size"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"the built kernel in {folder} is damaged: {error}",
            next_step=f"remove {folder} and build it again",
        ) from error


def of_image(packages: Sequence[ImageProvenance]) -> BuiltKernel | None:
    """Return the kernel in the cache that an image was made with; none if it was not built here."""
    made_of = {row.sha256 for row in packages}
    for manifest in sorted(cache.kernels_dir().glob(f"*/{MANIFEST}")):
        with contextlib.suppress(ImageError):
            one = read(manifest.parent)
            if {row.sha256 for row in one.provenance} <= made_of:
                return one
    return None


def no_room() -> ImageError:
    """Return the error for want of disk space."""
    return cache.no_room(cache.kernels_dir(), "building a kernel needs about 5 GiB")


def _make(source: Path, *arguments: str) -> list[str]:
    return ["make", "-C", str(source), "ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", *arguments]


def _compile(package: Package, file: Path, fragments: Fragments, steps: Steps) -> Path:
    """Return a folder with everything that a built kernel consists of, the manifest apart."""
    work = steps.folder
    title = f"Linux {package.version.partition('-')[0]}"
    steps.say(f"unpacking {package.name} {package.version}")
    apt.unpack(file, work / "package")
    archives = sorted((work / "package").glob("usr/src/linux-source-*.tar.xz"))
    if len(archives) != 1:
        raise ImageError(
            f"{package.name} {package.version} holds {len(archives)} source archives, expected one",
            next_step="name a package linux-source-VERSION in the image profile's 'source'",
        )
    source = work / "source"
    source.mkdir()
    unused = [f"--exclude={pattern}" for pattern in _UNUSED]
    steps.run("unpack", ["tar", "-xJf", str(archives[0]), "-C", str(source),
                         "--strip-components=1", "--no-same-owner", *unused])  # fmt: skip
    shutil.rmtree(work / "package")

    steps.say(f"configuring {title}")
    wanted = work / "wanted.config"
    wanted.write_text(fragments.text)
    steps.run("configure", _make(source, "allnoconfig", f"KCONFIG_ALLCONFIG={wanted}"))
    fragments.check((source / ".config").read_text(), title)

    steps.compile(
        f"compiling {title}",
        _make(source, f"-j{os.cpu_count() or 1}", "Image", "modules"),
        memory=cache.kernels_dir() / f"steps-{package.name}",
    )
    made = work / "made"
    made.mkdir()
    install = (f"INSTALL_MOD_PATH={made / MODULES}", "INSTALL_MOD_STRIP=1", "DEPMOD=true")
    steps.run("install modules", _make(source, *install, "modules_install"))
    for link in (made / MODULES).glob("lib/modules/*/build"):
        link.unlink()  # to the source tree, which goes
    shutil.copyfile(source / "arch/arm64/boot/Image", made / IMAGE)
    shutil.copyfile(source / ".config", made / CONFIG)
    _copy_tree(source, made / TREE)
    return made


def _copy_tree(source: Path, target: Path) -> None:
    """Copy what building a module outside the tree needs: makefiles, headers, host programs."""

    def uninteresting(folder: str, names: list[str]) -> list[str]:
        del folder
        return [name for name in names if name.endswith((".o", ".cmd", ".d"))]

    for name in _TREE_FOLDERS:
        shutil.copytree(source / name, target / name, symlinks=True, ignore=uninteresting)
    for name in _TREE_TOP:
        shutil.copyfile(source / name, target / name)
    for path in sorted(source.glob("arch/arm64/Makefile*")):
        shutil.copyfile(path, target / path.relative_to(source))


def _release(made: Path) -> str:
    (folder,) = (made / MODULES / "lib" / "modules").iterdir()
    return folder.name


def build_modules(kernel: BuiltKernel, folder: Path, work: Path, progress: Progress) -> list[Path]:
    """Return the modules that a folder with a ``Kbuild`` file gives; built in a copy in ``work``.

    Where ``work`` is, seen from the kernel's tree, may be in the result.

    Raises:
        ImageError: it does not build without a warning, or gives no module; the log is kept.
    """
    check_tools()
    progress(f"building the kernel modules of {folder.name} for Linux {kernel.release}")
    copy = work / folder.name
    shutil.copytree(folder, copy)
    log = paths.cache_dir() / "logs" / f"{folder.name}-{kernel.id}.log"
    steps = Steps(work, log, progress, no_room=no_room)
    place = os.path.relpath(copy, kernel.tree)  # KASAN and __FILE__ tell it
    steps.run(f"build {folder.name}", _make(kernel.tree, f"M={place}", "modules"), warnings=False)
    log.unlink(missing_ok=True)
    found = sorted(copy.rglob("*.ko"))
    if not found:
        raise ImageError(
            f"{folder} builds no kernel module",
            next_step="give it a file Kbuild with a line 'obj-m += NAME.o'",
        )
    return found


def folders_digest(folders: Sequence[Path]) -> str:
    """Return a hash of the files below some folders: names and contents."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(f"{folder.name}/{path.relative_to(folder)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
