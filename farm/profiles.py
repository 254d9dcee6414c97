"""Image profiles: which kernel and user space a board boots, and what that kernel provides.

A profile is a file of ``board-configs/images/``. A profile may be ``like`` another: it takes over
whatever it does not say itself. ``debian:VERSION`` needs no file: it is the profile of the Debian
release nearest to that kernel, with exactly that kernel package. A profile that is ``installed``
describes what a board brings itself; nothing of it is built here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from farm import paths
from farm.declarations import (
    DeviceFile,
    LeftOut,
    LeftOutFile,
    Name,
    PackageName,
    ProfileName,
    check_features,
    read_devices,
    read_left_out,
)
from farm.errors import UsageError
from farm.model import Device
from farm.yamlfile import YamlFile, nearest

EXACT = "debian:"
"""What the name of a profile begins with that asks for one version of Debian's kernel."""

_EXACT_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})[a-z0-9.+~-]{0,40}")
_RELEASE_SUITES: Mapping[str, tuple[str, ...]] = {
    "12": ("bookworm", "bookworm-security", "bookworm-updates", "bookworm-backports"),
    "13": ("trixie", "trixie-security", "trixie-updates", "trixie-backports"),
    "14": ("sid",),
}


@dataclass(frozen=True, slots=True)
class SourceKernel:
    """A kernel that is built here: the archive's source package and config fragments, in order."""

    package: str
    config: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class KnownComplaint:
    """A line that this kernel's log is known for, and why: it fails no test."""

    line: re.Pattern[str]
    reason: str


@dataclass(frozen=True, slots=True)
class ImageProfile:
    """Which kernel and user space a board boots, and which devices that kernel provides.

    User space comes from ``suite``; the kernel from the first of ``kernel_suites`` that has it:
    the package ``kernel``, or one built from ``source``. ``modules`` are loaded in order,
    ``extra_modules`` lie in the image for who wants to load them; ``module_sources`` are
    folders of kernel modules that are built with the kernel. ``hardware`` says by device id
    what this kernel's driver of a board's device does otherwise than the board type declares,
    ``slowness`` how many times as long as the board type's time limits it may take,
    ``known_complaints`` what its log may say without failing a test, ``left_out`` what it has
    and no test uses. Where ``installed``, the board has a system of its own, and only
    ``features`` and ``devices`` say anything about it.
    """

    name: str
    description: str
    path: Path
    suite: str
    kernel: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    module_options: Mapping[str, str]
    features: frozenset[str]
    devices: tuple[Device, ...]
    kernel_suites: tuple[str, ...]
    source: SourceKernel | None = None
    extra_modules: tuple[str, ...] = ()
    module_sources: tuple[Path, ...] = ()
    hardware: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    installed: bool = False
    slowness: float = 1.0
    known_complaints: tuple[KnownComplaint, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class _SourceFile(BaseModel, extra="forbid", frozen=True):
    package: PackageName
    config: list[str] = Field(min_length=1)


class _AmendmentFile(BaseModel, extra="forbid", frozen=True):
    exports: bool | None = None
    imports: bool | None = None
    control: bool | None = None


class _KnownComplaintFile(BaseModel, extra="forbid", frozen=True):
    line: str = Field(min_length=8, max_length=300)
    reason: str = Field(min_length=8)


class _ImageFile(BaseModel, extra="forbid", frozen=True):
    like: ProfileName = ""
    description: str = Field(min_length=1)
    suite: Name
    installed: Literal[False] = False
    kernel: PackageName = ""
    kernel_suite: Name = ""
    source: _SourceFile | None = None
    packages: list[PackageName]
    modules: list[str] = []
    extra_modules: list[str] = []
    module_options: dict[str, str] = {}
    module_sources: list[str] = []
    features: list[str] = []
    devices: list[DeviceFile] = []
    hardware: dict[str, _AmendmentFile] = {}
    slowness: float = Field(default=1.0, ge=1.0, le=100.0)
    known_complaints: list[_KnownComplaintFile] = []
    left_out: list[LeftOutFile] = []


class _InstalledFile(BaseModel, extra="forbid", frozen=True):
    like: ProfileName = ""
    description: str = Field(min_length=1)
    installed: Literal[True]
    features: list[str] = []
    devices: list[DeviceFile] = []
    left_out: list[LeftOutFile] = []


def load_image_profile(name: str) -> ImageProfile:
    """Return one image profile.

    Raises:
        UsageError: there is no such profile; the message names the nearest.
        ConfigError: its file is wrong.
    """
    if name.startswith(EXACT):
        return _exact(name)
    check_image_profile(name)
    return _load(paths.image_profiles() / f"{name}.yaml")


def check_image_profile(name: str) -> None:
    """Check that there is a profile of this name; what is in its file is not looked at.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    if name.startswith(EXACT):
        _exact(name)
        return
    folder = paths.image_profiles()
    known = {path.stem for path in folder.glob("*.yaml")}
    if name not in known:
        raise UsageError(
            f"no image profile '{name}' in {folder}{nearest(name, known)}",
            next_step=f"choose one of: {', '.join(sorted(known))}; "
            "or one version of Debian's kernel: debian:VERSION",
        )


def load_image_profiles() -> dict[str, ImageProfile]:
    """Return every image profile of ``board-configs/images/``, by name."""
    found = (_load(path) for path in sorted(paths.image_profiles().glob("*.yaml")))
    return {profile.name: profile for profile in found}


def _exact(name: str) -> ImageProfile:
    version = name.removeprefix(EXACT)
    match = _EXACT_VERSION.fullmatch(version)
    if match is None:
        raise UsageError(
            f"image profile '{name}': '{version}' is no version of Debian's kernel",
            next_step="name it as 'uname -r' does, without the architecture: "
            "debian:6.12.90+deb12, debian:6.1.0-50",
        )
    release = (int(match[1]), int(match[2]))
    base = "12" if release < (6, 2) else "13" if release < (6, 16) else "14"
    nearest_profile = {"12": "debian-12", "13": "debian-13", "14": "debian-sid"}[base]
    built_for = re.search(r"\+deb(\d+)", version)
    first = _RELEASE_SUITES.get(built_for[1] if built_for else base, ())
    rest = (suite for suites in _RELEASE_SUITES.values() for suite in suites)
    return replace(
        load_image_profile(nearest_profile),
        name=name,
        description=f"Debian's arm64 kernel {version}",
        kernel=f"linux-image-{version}-arm64",
        kernel_suites=tuple(dict.fromkeys((*first, *rest))),
    )


def _merged(file: YamlFile, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return a file's keys over those of the profile that it is like."""
    own: dict[str, Any] = file.data
    like = own.get("like")
    if not isinstance(like, str) or not like:
        return own
    path = file.path.with_name(f"{like}.yaml")
    if like in seen:
        raise file.error(("like",), f"profiles are like each other in a circle: {like}")
    if "/" in like or not path.is_file():
        known = {other.stem for other in file.path.parent.glob("*.yaml")}
        raise file.error(("like",), f"no image profile '{like}'{nearest(like, known)}")
    base = dict(_merged(YamlFile(path), (*seen, like)))
    for key, other in (("source", "kernel"), ("kernel", "source")):
        if key in own:
            base.pop(other, None)
    return {**base, **own}


def _load(path: Path) -> ImageProfile:
    file = YamlFile(path)
    file.data = _merged(file, (path.stem,))
    if file.data.get("installed") is True:
        return _installed(file)
    content = file.validate(_ImageFile)
    if bool(content.kernel) == (content.source is not None):
        at = ("kernel",) if content.kernel else ()
        raise file.error(at, "expected one of the keys 'kernel' (a package) and 'source'")
    check_features(file, ("features",), content.features)
    names = {*content.modules, *content.extra_modules}
    for module in content.module_options:
        if module not in names:
            raise file.error(
                ("module_options", module),
                f"options for a module that is not loaded{nearest(module, names)}",
            )
    source = None
    if content.source is not None:
        config = _inside(file, ("source", "config"), content.source.config, paths.board_configs())
        source = SourceKernel(content.source.package, config)
    sources = _inside(file, ("module_sources",), content.module_sources, paths.testsuites())
    if sources and source is None:
        raise file.error(("module_sources",), "modules are built with a kernel from 'source' only")
    devices = read_devices(file, ("devices",), content.devices)
    return ImageProfile(
        name=path.stem,
        description=content.description,
        path=path,
        suite=content.suite,
        kernel=content.kernel,
        packages=tuple(content.packages),
        modules=tuple(content.modules),
        module_options=dict(content.module_options),
        features=frozenset(content.features),
        devices=devices,
        kernel_suites=(content.kernel_suite or content.suite,),
        source=source,
        extra_modules=tuple(content.extra_modules),
        module_sources=sources,
        hardware={
            name: amendment.model_dump(exclude_none=True)
            for name, amendment in content.hardware.items()
        },
        slowness=content.slowness,
        known_complaints=tuple(
            KnownComplaint(_regex(file, number, one.line), one.reason)
            for number, one in enumerate(content.known_complaints)
        ),
        left_out=read_left_out(file, ("left_out",), content.left_out, devices),
    )


def _regex(file: YamlFile, number: int, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        at = ("known_complaints", number, "line")
        raise file.error(at, f"not a regular expression: {error}") from error


def _installed(file: YamlFile) -> ImageProfile:
    content = file.validate(_InstalledFile)
    check_features(file, ("features",), content.features)
    devices = read_devices(file, ("devices",), content.devices)
    return ImageProfile(
        name=file.path.stem,
        description=content.description,
        path=file.path,
        suite="",
        kernel="",
        packages=(),
        modules=(),
        module_options={},
        features=frozenset(content.features),
        devices=devices,
        kernel_suites=(),
        installed=True,
        left_out=read_left_out(file, ("left_out",), content.left_out, devices),
    )


def _inside(
    file: YamlFile, at: tuple[str, ...], names: list[str], folder: Path
) -> tuple[Path, ...]:
    """Return files or folders below ``folder``, each of which must exist."""
    found: list[Path] = []
    for number, name in enumerate(names):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.exists():
            raise file.error((*at, number), f"'{name}' is not in {folder}")
        found.append(path)
    return tuple(found)
