"""What a user brings: a kernel of their own, its modules, and drivers under test."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ImageError, UsageError
from farm.image.kernel import folders_digest
from farm.image.modules import ModuleFolder, decompress, modinfo, own_name, vermagic
from farm.model import ImageProvenance

_BANNER = re.compile(rb"Linux version (\d[A-Za-z0-9.+~_-]{0,120}) ")
_LARGEST = 512 << 20
_NETWORK = b"virtio_net\0"
"""The driver's name, which stands there where it is built in (drivers/net/virtio_net.c, 6.12)."""
_GIVE_KERNEL = "give arch/arm64/boot/Image of the kernel's build folder"
_GIVE_DRIVER = "give the module that the kernel's build made: NAME.ko, or NAME.ko.xz, NAME.ko.gz"
_MAGIC_AT = 0x38
_MAGIC = b"ARM\x64"  # Documentation/arch/arm64/booting.rst


@dataclass(frozen=True, slots=True)
class Kernel:
    """A bootable file, and what it tells of itself: its release by its banner."""

    path: Path
    release: str
    sha256: str
    has_network: bool
    """Whether the driver of the virtual boards' network card, virtio_net, is built in."""

    @property
    def provenance(self) -> ImageProvenance:
        """Return what an image records of it."""
        return ImageProvenance(f"kernel {self.path.name}", self.release, "arm64", self.sha256)


@dataclass(frozen=True, slots=True)
class Driver:
    """A kernel module file: what it says of itself, and its hash."""

    path: Path
    name: str
    vermagic: str
    srcversion: str
    sha256: str

    @property
    def provenance(self) -> ImageProvenance:
        """Return what an image records of it."""
        version = f"srcversion {self.srcversion or 'unknown'}, vermagic {self.vermagic}"
        return ImageProvenance(f"driver {self.name}", version, "arm64", self.sha256)


@dataclass(frozen=True, slots=True)
class Modules:
    """A folder ``lib/modules/RELEASE``: how many files it holds, and the hash of all of them."""

    path: Path
    files: int
    sha256: str

    @property
    def provenance(self) -> ImageProvenance:
        """Return what an image records of it."""
        version = f"{self.path.name}, {self.files} files"
        return ImageProvenance("modules", version, "arm64", self.sha256)


@dataclass(frozen=True, slots=True)
class Own:
    """What replaces or joins a profile's kernel.

    Without ``modules``, everything that the board needs is built into ``kernel``.
    """

    kernel: Kernel | None = None
    modules: Modules | None = None
    drivers: tuple[Driver, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything of the user's own."""
        return self.kernel is not None or bool(self.drivers)

    @property
    def identity(self) -> list[object]:
        """Return what tells it from any other, for a recipe."""
        kernel = self.kernel.sha256 if self.kernel else ""
        modules = self.modules.sha256 if self.modules else ""
        return [kernel, modules, [[driver.name, driver.sha256] for driver in self.drivers]]

    @property
    def provenance(self) -> list[ImageProvenance]:
        """Return what an image records of all of it."""
        parts = [part for part in (self.kernel, self.modules, *self.drivers) if part is not None]
        return [part.provenance for part in parts]


NOTHING = Own()
"""Neither a kernel nor drivers: the profile as it is."""


def read_own(kernel: Path | None, modules: Path | None, drivers: Sequence[Path]) -> Own:
    """Return what the user brings, checked as far as it can be without a board.

    Raises:
        UsageError: a file is missing or not what it should be, modules come without a kernel or
            are built for another, or two drivers are one module.
    """
    if modules is not None and kernel is None:
        raise UsageError(
            "modules without their kernel", next_step="give the kernel too: --kernel IMAGE"
        )
    found: dict[str, Driver] = {}
    for driver in map(read_driver, drivers):
        if (other := found.setdefault(driver.name, driver)) is not driver:
            raise UsageError(
                f"{other.path} and {driver.path} are both the kernel module {driver.name!r}, and "
                "a kernel loads one",
                next_step="give one of them, and the other in a run of its own",
            )
    own = Own(
        kernel=read_kernel(kernel) if kernel is not None else None,
        modules=_read_modules(modules) if modules is not None else None,
        drivers=tuple(found.values()),
    )
    if own.kernel is not None and own.modules is not None:
        _check_belong(own.kernel, own.modules)
    return own


def _check_belong(kernel: Kernel, modules: Modules) -> None:
    try:
        built_for = ModuleFolder(modules.path).vermagic.partition(" ")[0]
    except (ImageError, ValueError) as error:
        raise UsageError(
            f"{modules.path} holds no modules that a kernel loads: {error}",
            next_step="install them again: make modules_install INSTALL_MOD_PATH=DIR",
        ) from error
    if built_for not in ("", kernel.release):
        raise UsageError(
            f"the modules in {modules.path} are built for Linux {built_for}, and {kernel.path} is "
            f"Linux {kernel.release}",
            next_step="give the folder that make modules_install filled from that kernel's tree",
        )


def read_kernel(path: Path) -> Kernel:
    """Return what a file says that should be an arm64 ``Image`` or ``Image.gz``.

    Raises:
        UsageError: it is none; the message says what it looks like.
    """
    raw = _content(path, _GIVE_KERNEL)
    data = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            data = zlib.decompressobj(wbits=31).decompress(raw, _LARGEST)
        except zlib.error as error:
            raise UsageError(
                f"{path}: damaged gzip file: {error}", next_step=_GIVE_KERNEL
            ) from error
    banner = _BANNER.search(data)
    if data[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC or banner is None:
        raise UsageError(
            f"{path} is no arm64 kernel that boots: expected an Image or Image.gz, found "
            f"{_looks_like(data)}",
            next_step=_GIVE_KERNEL,
        )
    sha256 = hashlib.sha256(raw).hexdigest()
    return Kernel(path, banner[1].decode(), sha256, has_network=_NETWORK in data)


def _looks_like(data: bytes) -> str:
    if data[:4] == b"\x7fELF":
        return "an ELF file"
    if data[4:8] == b"zimg":  # drivers/firmware/efi/libstub/zboot-header.S, 6.12
        return "a compressed EFI program (CONFIG_EFI_ZBOOT)"
    return f"a file that begins with {data[:8]!r}" if data else "an empty file"


def read_driver(path: Path) -> Driver:
    """Return what a kernel module file says of itself (``.ko``, ``.ko.xz``, ``.ko.gz``).

    Raises:
        UsageError: it is none.
    """
    raw = _content(path, _GIVE_DRIVER)
    try:
        data = decompress(path)
        info = modinfo(data)
        magic = vermagic(data)
        name = own_name(path, data)
    except (ImageError, ValueError) as error:
        raise UsageError(f"{path} is no kernel module: {error}", next_step=_GIVE_DRIVER) from error
    if not magic:
        raise UsageError(
            f"{path} is no finished kernel module: it has no vermagic", next_step=_GIVE_DRIVER
        )
    return Driver(
        path=path,
        name=name,
        vermagic=magic,
        srcversion=info.get("srcversion", [""])[0],
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def check_fits(driver: Driver, release: str, wanted: str) -> None:
    """Make sure that a kernel loads a module: same release, and same ``vermagic`` where known.

    ``wanted`` is the kernel's vermagic, or empty where it has no module to tell it.

    Raises:
        UsageError: it is built for another kernel; the message names both.
    """
    if driver.vermagic == wanted or (not wanted and driver.vermagic.split()[0] == release):
        return
    raise UsageError(
        f"{driver.path.name} is built for the kernel '{driver.vermagic}', "
        f"and the board boots '{wanted or release}'",
        next_step="build it against the kernel that the board boots, or boot its kernel with "
        "--kernel or another --image",
    )


def check_network(own: Own) -> None:
    """Make sure that a kernel of the user's own has the driver of the boards' network card.

    Raises:
        UsageError: it is neither built in nor among the modules, so that no board would answer.
    """
    if own.kernel is None or own.kernel.has_network:
        return
    if own.modules is not None and any(own.modules.path.rglob("virtio_net.ko*")):
        return
    among = f" nor among the modules in {own.modules.path}" if own.modules else ""
    raise UsageError(
        f"{own.kernel.path}: Linux {own.kernel.release} has no driver for the boards' network "
        f"card: virtio_net is not built in{among}",
        next_step="build it with CONFIG_VIRTIO_NET=y and CONFIG_VIRTIO_PCI=y"
        + ("" if own.modules else ", or give its modules: --modules DIR"),
    )


def _content(path: Path, next_step: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}", next_step=next_step
        ) from error
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: larger than {_LARGEST >> 20} MiB", next_step=next_step)
    return data


def _read_modules(path: Path) -> Modules:
    folder = _module_folder(path)
    try:
        files = sum(file.is_file() for file in folder.rglob("*"))
        return Modules(folder, files, folders_digest([folder]))
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _module_folder(path: Path) -> Path:
    """Return the folder ``lib/modules/RELEASE`` that a path is, or that stands below it."""
    candidates = [path] if (path / "modules.order").is_file() else []
    candidates += [p.parent for p in sorted(path.glob("lib/modules/*/modules.order"))]
    candidates += [p.parent for p in sorted(path.glob("usr/lib/modules/*/modules.order"))]
    if len(candidates) != 1:
        raise UsageError(
            f"{path} holds {len(candidates)} folders of installed modules, expected one",
            next_step="install them with: make modules_install INSTALL_MOD_PATH=DIR",
        )
    return candidates[0]
