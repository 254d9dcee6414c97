"""Build a virtual board's image: Debian's packages in, kernel and initramfs out."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.resources
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ImageError, UsageError
from farm.image import apt, cache, kernel, keys
from farm.image.apt import Package, PackageGone, Progress
from farm.image.cache import Image
from farm.image.cpio import Tree, pack
from farm.image.initramfs import (
    Access,
    add_configuration,
    add_modules,
    add_package,
    check_libraries,
)
from farm.image.kconfig import read_fragments
from farm.image.kernel import BuiltKernel
from farm.image.modules import ModuleFolder
from farm.image.own import NOTHING, Own, check_fits, read_driver
from farm.image.sources import NoMirror
from farm.inventory import ImageProfile
from farm.model import ImageProvenance

_SHAPES_CONTENT = ("build.py", "cpio.py", "init.sh", "initramfs.py", "keys.py", "modules.py")
_ROOM = 1 << 30


def recipe(profile: ImageProfile, own: Own = NOTHING) -> str:
    """Return a hash of what determines an image before any package is looked up.

    Raises:
        ConfigError: a config fragment cannot be read.
    """
    content: dict[str, object] = {
        "profile": profile.name,
        "suite": profile.suite,
        "kernel": profile.kernel,
        "kernel_suites": profile.kernel_suites,
        "packages": profile.packages,
        "modules": profile.modules,
        "extra_modules": profile.extra_modules,
        "module_options": dict(profile.module_options),
        "builder": _builder_digest(),
    }
    if profile.source is not None:
        fragments = read_fragments(profile.source.config)
        content["source"] = [profile.source.package, fragments.text]
        content["module_sources"] = kernel.folders_digest(profile.module_sources)
    if own:
        content["own"] = own.identity
    return _short_hash(content)


def _short_hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _builder_digest() -> str:
    folder = importlib.resources.files("farm.image")
    digest = hashlib.sha256()
    for name in _SHAPES_CONTENT:
        digest.update(folder.joinpath(name).read_bytes())
    return digest.hexdigest()


def build(
    profile: ImageProfile,
    *,
    own: Own = NOTHING,
    progress: Progress = lambda _: None,
    refresh: bool = False,
) -> Image:
    """Return the profile's image, built if the cache lacks it.

    A cached image is found without the network; ``refresh`` asks the archive for newer packages.
    ``own`` brings a kernel or drivers of the user's. ``progress`` is told in words what goes on.
    Several processes may build at once.

    Raises:
        UsageError: a driver is built for another kernel.
        ConfigError: a config fragment asks for what the kernel does not have.
        ImageError: no mirror, a package or module is gone, no disk space, or a tool is missing.
    """
    if profile.installed:
        raise UsageError(
            f"image profile {profile.name!r} is what a board brings itself: nothing to build",
            next_step="virtual boards need another one; see: farm image list",
        )
    wanted = recipe(profile, own)
    if not refresh and (image := cache.recall(wanted)):
        return image
    built = None
    if profile.source is not None and own.kernel is None:
        with _file_errors(profile, kernel.no_room):
            built = _from_source(profile, progress)
    with _file_errors(profile, _no_room), cache.building(progress):
        if not refresh and (image := cache.recall(wanted)):
            return image  # another process built it while we waited
        image = _build(_Order(profile, wanted, own, built), progress)
        cache.remember(wanted, image.id)
        return image


@contextlib.contextmanager
def _file_errors(profile: ImageProfile, no_room: Callable[[], ImageError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room() from error
        raise ImageError(
            f"image {profile.name!r} could not be built: {error}",
            next_step=f"check that {cache.images_dir()} can be written",
        ) from error


def _no_room() -> ImageError:
    return cache.no_room(cache.images_dir(), "an image needs about 1 GiB to build")


def _make_room() -> None:
    cache.sweep()
    if shutil.disk_usage(cache.images_dir()).free < _ROOM:
        raise _no_room()


@contextlib.contextmanager
def _module_place() -> Iterator[Path]:
    """Enter a folder that is always the same, since its name gets into modules built there."""
    place = cache.images_dir() / f"{cache.DRAFT}modules"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield place
    finally:
        cache.drop(place)


@dataclass(frozen=True, slots=True)
class _Order:
    """What one image is to be made of; ``built`` is the kernel where it comes from source."""

    profile: ImageProfile
    recipe: str
    own: Own
    built: BuiltKernel | None


def _from_source(profile: ImageProfile, progress: Progress) -> BuiltKernel:
    """Return the kernel of a profile that has it built."""
    assert profile.source is not None
    fragments = read_fragments(profile.source.config)
    kernel.check_tools()  # without a compiler, fetching is in vain
    with cache.building(progress):
        _make_room()
        suite = profile.kernel_suites[0]
        with _archive(suite, progress) as archive:
            package = archive.resolve_source(profile.source.package)
            (file,) = archive.fetch([package], cache.packages_dir(), progress)
    return kernel.obtain(package, file, fragments, name=profile.name, progress=progress)


@contextlib.contextmanager
def _archive(suite: str, progress: Progress) -> Iterator[apt.AptRoot]:
    with apt.apt_root(suite, cache.packages_dir()) as archive:
        progress(f"reading the package lists of Debian {suite}")
        archive.update()
        yield archive


def _kernel_packages(
    profile: ImageProfile, at_hand: apt.AptRoot, progress: Progress
) -> tuple[list[Package], list[Path]]:
    """Return the packages of a kernel and their files, from the first suite that has it."""
    versions: list[str] = []
    halves: list[str] = []
    for suite in profile.kernel_suites:
        with contextlib.ExitStack() as stack:
            try:
                archive = (
                    at_hand
                    if suite == profile.suite
                    else stack.enter_context(_archive(suite, progress))
                )
            except NoMirror:
                continue  # many machines have none with security updates
            try:
                packages = archive.resolve_kernel(profile.kernel)
            except PackageGone as error:
                if error.package != profile.kernel:
                    halves.append(f"; {suite} has it, but no longer {error.package}, its part")
                versions += archive.kernel_versions()
                continue
            return packages, archive.fetch(packages, cache.packages_dir(), progress)
    suites = ", ".join(profile.kernel_suites)
    known = ", ".join(sorted(set(versions), key=apt.by_age)) or "none"
    raise PackageGone(
        f"the kernel package {profile.kernel!r} is not, or no longer whole, in Debian's {suites}"
        f"{''.join(halves)}",
        package=profile.kernel,
        next_step=f"take a version that is there (debian:VERSION): {known}",
    )


def _build(order: _Order, progress: Progress) -> Image:
    _make_room()
    profile = order.profile
    stored = cache.packages_dir()
    kernel_packages: list[Package] = []
    kernel_files: list[Path] = []
    with _archive(profile.suite, progress) as archive:
        packages = [archive.lookup(name) for name in profile.packages]
        files = archive.fetch(packages, stored, progress)
        if order.built is None and order.own.kernel is None:
            kernel_packages, kernel_files = _kernel_packages(profile, archive, progress)
    made_of = [package.provenance for package in (*kernel_packages, *packages)]
    if order.built is not None:
        made_of[:0] = order.built.provenance
    made_of[:0] = order.own.provenance
    image_id = _short_hash([order.recipe, [row.sha256 for row in made_of]])
    with contextlib.suppress(ImageError):  # it is not there, or damaged
        return cache.find(image_id)
    progress("unpacking the packages")
    with (
        cache.draft(cache.images_dir()) as work,
        _module_place() as module_place,
    ):
        for file in kernel_files:
            apt.unpack(file, work / "kernel")
        for package, file in zip(packages, files, strict=True):
            apt.unpack(file, work / "user" / package.name)
        image = _assemble(order, work, module_place, image_id, made_of, progress)
        cache.write_manifest(image.folder, image)
        return cache.add(image.folder, image_id)


def _assemble(
    order: _Order,
    work: Path,
    module_place: Path,
    image_id: str,
    made_of: list[ImageProvenance],
    progress: Progress,
) -> Image:
    profile, own = order.profile, order.own
    boot_file, module_folder, release = _kernel_files(order, work)
    added = {driver.name: driver.path for driver in own.drivers}
    if order.built is not None:
        for folder in profile.module_sources:
            for ours in map(
                read_driver, kernel.build_modules(order.built, folder, module_place, progress)
            ):
                made_of.append(ours.provenance)
                added.setdefault(ours.name, ours.path)
    available = ModuleFolder(module_folder, added)
    for driver in own.drivers:
        check_fits(driver, release, available.vermagic)
    wanted, beside = list(profile.modules), list(profile.extra_modules)
    if own.kernel is not None:  # what its builder left out or built in, nobody can tell
        absent = {name for name in (*wanted, *beside) if not available.has(name)}
        wanted, beside = ([n for n in names if n not in absent] for names in (wanted, beside))
        _tell_absent(profile, release, absent, progress)
    drivers = [driver.name for driver in own.drivers]
    load = available.closure([*wanted, *drivers])
    extra = available.closure([*beside, *available.added])
    progress(f"putting the image together: Linux {release}, {len(load)} modules")
    tree = Tree()
    for unpacked in sorted((work / "user").iterdir()):
        add_package(tree, unpacked)
    check_libraries(tree)
    add_modules(tree, release, load, profile.module_options, extra, drivers)
    host, client = keys.generate(), keys.generate()
    add_configuration(tree, Access(host.dropbear, client.public), image_id)

    folder = work / "image"
    folder.mkdir()
    shutil.copyfile(boot_file, folder / cache.KERNEL)
    (folder / cache.INITRD).write_bytes(pack(tree))
    key_file = folder / cache.CLIENT_KEY
    key_file.touch(0o600)
    key_file.write_bytes(client.private)
    return Image(
        id=image_id,
        profile=profile.name,
        kernel=folder / cache.KERNEL,
        initrd=folder / cache.INITRD,
        client_key=key_file,
        host_key=host.public,
        kernel_release=release,
        packages=tuple(made_of),
        folder=folder,
    )


def _tell_absent(
    profile: ImageProfile, release: str, absent: Collection[str], progress: Progress
) -> None:
    """Say which modules of a profile a kernel of the user's own does not bring."""
    ours = {folder.name: folder for folder in profile.module_sources}
    if others := sorted(set(absent) - set(ours)):
        progress(f"Linux {release}: built in or missing: {', '.join(others)}")
    for name in sorted(set(absent) & set(ours)):
        progress(
            f"Linux {release} has no {name}, and its tests will fail: build it against your tree "
            f"(make M={ours[name]} modules) and add --driver {name}.ko"
        )


def _kernel_files(order: _Order, work: Path) -> tuple[Path, Path, str]:
    """Return the bootable file, the folder ``lib/modules/RELEASE``, and the release."""
    if order.own.kernel is not None:
        nothing = work / "no-modules"
        nothing.mkdir()
        modules = order.own.modules.path if order.own.modules else nothing
        return order.own.kernel.path, modules, order.own.kernel.release
    if order.built is not None:
        return order.built.image, order.built.modules, order.built.release
    return _find_kernel(work / "kernel")


def _find_kernel(root: Path) -> tuple[Path, Path, str]:
    folders = [p for top in ("lib", "usr/lib") for p in (root / top / "modules").glob("*/")]
    if len(folders) != 1:
        raise ImageError(
            f"the kernel packages hold {len(folders)} folders lib/modules/*, expected one",
            next_step="name a Debian kernel image package as 'kernel' in the image profile",
        )
    release = folders[0].name
    for candidate in (root / f"boot/vmlinuz-{release}", folders[0] / "vmlinuz"):
        if candidate.is_file():
            return candidate, folders[0], release
    raise ImageError(
        f"the kernel packages hold no vmlinuz for Linux {release}",
        next_step="name a Debian kernel image package as 'kernel' in the image profile",
    )
