"""Board types and image profiles: from the files in ``board-configs/`` to frozen dataclasses.

A board config is a labgrid environment file; everything of ours stands under its top-level key
``farm:``, which labgrid ignores. Hardware belongs to the board type, what the kernel provides
(udmabuf, vgem, vivid …) to the image profile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from farm import paths
from farm.declarations import (
    FEATURES,
    DeviceFile,
    LeftOut,
    LeftOutFile,
    Name,
    ProfileName,
    Source,
    check_features,
    read_devices,
    read_left_out,
)
from farm.errors import ConfigError, UsageError
from farm.model import Device
from farm.profiles import (
    ImageProfile,
    SourceKernel,
    check_image_profile,
    load_image_profile,
    load_image_profiles,
)
from farm.yamlfile import YamlFile, nearest

__all__ = [
    "FEATURES",
    "BoardType",
    "Claim",
    "FirmwareSource",
    "HealthRule",
    "ImageProfile",
    "LeftOut",
    "Limits",
    "SourceKernel",
    "SshAccess",
    "Topic",
    "VirtualHardware",
    "devices",
    "load_board_type",
    "load_board_types",
    "load_image_profile",
    "load_image_profiles",
]


TOP_KEYS = frozenset({"farm", "targets", "imports", "images", "tools", "paths", "options"})
"""Top-level keys of a board config: ours, and those that labgrid reads (labgrid/config.py)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds, and how many power cycles one job may spend on recovery.

    ``slowness`` is how many times as long a case may take that has a limit of its own.
    """

    boot_s: float
    command_s: float
    case_s: float
    reboots: int
    slowness: float = 1.0

    def slowed(self, factor: float) -> Limits:
        """Return the limits of a kernel that takes ``factor`` times as long."""
        return replace(
            self,
            boot_s=self.boot_s * factor,
            command_s=self.command_s * factor,
            case_s=self.case_s * factor,
            slowness=self.slowness * factor,
        )


@dataclass(frozen=True, slots=True)
class SshAccess:
    """How to log in.

    ``username`` is empty where the place's NetworkService says it; ``key`` and ``host_key`` are
    empty where the image brings its own. ``known_hosts`` pins a key for each board of the type, in
    ssh's format.
    """

    username: str
    key: Path | None
    host_key: str
    known_hosts: Path | None = None


@dataclass(frozen=True, slots=True)
class FirmwareSource:
    """Where a virtual board's firmware comes from: a file of a package of a Debian suite."""

    suite: str
    package: str
    file: str


@dataclass(frozen=True, slots=True)
class VirtualHardware:
    """What QEMU is told to be: ``-machine``, ``-cpu``, ``-smp``, ``-m`` (MiB), ``-device`` each.

    Where not ``coherent``, the board's device tree says nowhere that a device snoops the caches.
    One board of each ``default`` type is brought up where no board is asked for. Without
    ``firmware`` QEMU starts the kernel itself and ``append`` goes to its command line; with it, the
    board's strategy has the firmware load the kernel by TFTP, or from the first partition of a
    virtio ``disk``. An ``exact`` board does the same in every boot, to the instruction.
    """

    machine: str
    cpu: str
    smp: int
    memory_mib: int
    devices: tuple[str, ...]
    append: str
    coherent: bool = True
    default: bool = False
    firmware: FirmwareSource | None = None
    exact: bool = False
    disk: bool = field(default=False, repr=False)  # the others' identity is their text


@dataclass(frozen=True, slots=True)
class HealthRule:
    """When boards of a type are checked, and what a check wants beside boot, link and payload.

    A board is checked every ``every_h`` hours. ``failures`` in a row quarantine it; it is tried
    again ``retry_h`` hours later, and after twice as long each time, up to ``every_h``. Each of
    ``commands`` has to end with status 0 on the board.
    """

    every_h: float = 24
    failures: int = 3
    retry_h: float = 1
    commands: tuple[str, ...] = ()


class Topic(StrEnum):
    """What a claim about hardware is about."""

    IOMMU = "iommu"
    DMA = "dma"  # masks, address windows, coherence
    DISPLAY = "display"
    GPU = "gpu"
    CODEC = "codec"
    CAPTURE = "capture"
    COUNTERS = "counters"  # PMUs and what else counts
    CONSOLE = "console"
    POWER = "power"
    BOOT = "boot"
    KERNEL = "kernel"  # options that the board's own kernel needs


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence about a board type's hardware, and where the kernel says so."""

    about: Topic
    says: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoardType:
    """What several boards share; ``iommu`` is the IOMMU's driver, or empty where there is none.

    ``untested`` says in a sentence that, and why, nobody has run this config; empty where it runs.
    """

    name: str
    description: str
    config: Path
    iommu: str
    features: frozenset[str]
    devices: tuple[Device, ...]
    image: str
    limits: Limits
    ssh: SshAccess
    console_patterns: tuple[tuple[str, str], ...]
    virtual: VirtualHardware | None
    untested: str = ""
    claims: tuple[Claim, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    health: HealthRule = HealthRule()
    known_complaints: tuple[re.Pattern[str], ...] = ()

    def booting(self, profile: ImageProfile) -> BoardType:
        """Return the type as it is with the kernel of an image profile: its pace, its flaws."""
        return replace(
            self,
            limits=self.limits.slowed(profile.slowness),
            known_complaints=tuple(one.line for one in profile.known_complaints),
        )

    @property
    def exact(self) -> bool:
        """Whether boards of this type do the same in every boot."""
        return self.virtual is not None and self.virtual.exact


class _LimitsFile(BaseModel, extra="forbid", frozen=True):
    boot_s: float = Field(default=90, gt=0, le=3600)
    command_s: float = Field(default=30, gt=0, le=3600)
    case_s: float = Field(default=30, gt=0, le=86400)
    reboots: int = Field(default=5, ge=0, le=1000)


class _HealthFile(BaseModel, extra="forbid", frozen=True):
    every_h: float = Field(default=24, gt=0, le=8760)
    failures: int = Field(default=3, ge=1, le=100)
    retry_h: float = Field(default=1, gt=0, le=8760)
    commands: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class _SshFile(BaseModel, extra="forbid", frozen=True):
    username: str = ""
    key: str = ""
    host_key: str = Field(default="", pattern=r"^$|^(ssh-ed25519|ssh-rsa|ecdsa-\S+) \S+")
    known_hosts: str = ""


class _ConsolePattern(BaseModel, extra="forbid", frozen=True):
    name: Name
    pattern: str = Field(min_length=1)


class _FirmwareFile(BaseModel, extra="forbid", frozen=True):
    suite: Name
    package: Name
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*([/.][A-Za-z0-9_+-]+)*$")


class _VirtualFile(BaseModel, extra="forbid", frozen=True):
    machine: str
    cpu: str
    smp: int = Field(default=2, ge=1, le=64)
    memory_mib: int = Field(default=1024, ge=128, le=1 << 20)
    devices: list[str] = []
    append: str = ""
    coherent: bool = True
    default: bool = False
    firmware: _FirmwareFile | None = None
    disk: bool = False
    exact: bool = False


class _ClaimFile(BaseModel, extra="forbid", frozen=True):
    about: Topic
    says: str = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)


class _FarmSection(BaseModel, extra="forbid", frozen=True):
    board_type: Name
    description: str = Field(min_length=1)
    iommu: str = ""
    features: list[str] = []
    devices: list[DeviceFile] = []
    image: ProfileName
    limits: _LimitsFile = _LimitsFile()
    health: _HealthFile = _HealthFile()
    ssh: _SshFile = _SshFile()
    console: list[_ConsolePattern] = []
    virtual: _VirtualFile | None = None
    untested: str = ""
    claims: list[_ClaimFile] = []
    left_out: list[LeftOutFile] = []


def load_board_type(path: Path) -> BoardType:
    """Return the board type that a board config describes.

    Raises:
        ConfigError: the file is wrong; the message starts with ``file:line:``.
    """
    file = YamlFile(path)
    section = file.validate(_FarmSection, "farm")
    _check_keys(file)
    _check_image(file, section.image)
    if section.board_type != path.stem:
        raise file.error(
            ("farm", "board_type"), f"found '{section.board_type}' in a file named '{path.name}'"
        )
    check_features(file, ("farm", "features"), section.features)
    devices = read_devices(file, ("farm", "devices"), section.devices)
    for number, device in enumerate(devices):
        if device.iommu and not section.iommu:
            raise file.error(
                ("farm", "devices", number, "iommu"),
                f"'{device.id}' is behind an IOMMU, but the board type names none (key 'iommu')",
            )
    for number, entry in enumerate(section.console):
        try:
            re.compile(entry.pattern)
        except re.error as error:
            at = ("farm", "console", number, "pattern")
            raise file.error(at, f"not a regular expression: {error}") from error
    if section.ssh.host_key and section.ssh.known_hosts:
        raise file.error(
            ("farm", "ssh", "known_hosts"), "expected only one of 'host_key' and 'known_hosts'"
        )
    if section.virtual is not None and section.virtual.exact:
        _check_exact(file, section.virtual)
    return BoardType(
        name=section.board_type,
        description=section.description,
        config=path,
        iommu=section.iommu,
        features=frozenset(section.features),
        devices=devices,
        image=section.image,
        limits=Limits(**section.limits.model_dump()),
        health=HealthRule(**section.health.model_dump()),
        ssh=SshAccess(
            username=section.ssh.username,
            key=_beside(path, section.ssh.key),
            host_key=section.ssh.host_key,
            known_hosts=_beside(path, section.ssh.known_hosts),
        ),
        console_patterns=tuple((entry.name, entry.pattern) for entry in section.console),
        virtual=_virtual(file, section.virtual),
        untested=" ".join(section.untested.split()),
        claims=tuple(
            Claim(entry.about, " ".join(entry.says.split()), entry.sources)
            for entry in section.claims
        ),
        left_out=read_left_out(file, ("farm", "left_out"), section.left_out, devices),
    )


def _check_keys(file: YamlFile) -> None:
    """Refuse what neither labgrid nor the farm reads: labgrid passes over a misspelt 'imports'."""
    for key in map(str, file.data):
        if key not in TOP_KEYS and not key.startswith("x-"):
            raise file.error(
                (key,),
                f"unknown key{nearest(key, TOP_KEYS)}; known: {', '.join(sorted(TOP_KEYS))}",
                next_step="what is for other programs has a name that begins with 'x-'",
            )


def _check_image(file: YamlFile, name: str) -> None:
    try:
        check_image_profile(name)
    except ConfigError:
        raise  # the profile's own file is wrong
    except UsageError as error:
        at = ("farm", "image")
        raise file.error(at, error.message, next_step=error.next_step) from error


def load_board_types() -> dict[str, BoardType]:
    """Return every board type of ``board-configs/``, by name."""
    found = (load_board_type(path) for path in sorted(paths.board_configs().glob("*.yaml")))
    return {board_type.name: board_type for board_type in found}


def devices(board_type: BoardType, profile: ImageProfile) -> tuple[Device, ...]:
    """Return what a board of this type with this image declares: hardware, then kernel devices.

    Raises:
        UsageError: both declare a device of the same id.
    """
    twice = {d.id for d in board_type.devices} & {d.id for d in profile.devices}
    if twice:
        raise UsageError(
            f"board type '{board_type.name}' ({board_type.config}) and image profile "
            f"'{profile.name}' ({profile.path}) both declare '{sorted(twice)[0]}'",
            next_step="keep the device in one of the two files",
        )
    hardware = (
        _amended(device, profile)
        for device in board_type.devices
        if not device.module or profile.installed or device.module in profile.modules
    )
    return (*hardware, *profile.devices)


def _amended(device: Device, profile: ImageProfile) -> Device:
    says: dict[str, Any] = dict(profile.hardware.get(device.id, {}))
    return replace(device, **says)


def _beside(config: Path, name: str) -> Path | None:
    """Return the file that a board config names; a relative path starts at the config's folder."""
    return (config.parent / Path(name).expanduser()).absolute() if name else None


def _check_exact(file: YamlFile, part: _VirtualFile) -> None:
    """Refuse what would make two boots of an exact board differ."""
    if part.smp != 1:
        raise file.error(
            ("farm", "virtual", "smp"),
            f"an exact board has one CPU, found {part.smp}: several are scheduled as time goes by",
        )
    if "dtb-randomness=off" not in part.machine.split(","):
        raise file.error(
            ("farm", "virtual", "machine"),
            "an exact board needs 'dtb-randomness=off': QEMU puts random seeds into the device "
            "tree otherwise",
        )
    if "nokaslr" not in part.append.split():
        raise file.error(
            ("farm", "virtual", "append"), "an exact board needs 'nokaslr': the kernel moves else"
        )
    for number, device in enumerate(part.devices):
        if device.startswith("virtio-"):
            raise file.error(
                ("farm", "virtual", "devices", number),
                f"an exact board can have no {device.partition(',')[0]}: it completes requests in "
                "QEMU's main loop, as time goes by",
            )


def _virtual(file: YamlFile, part: _VirtualFile | None) -> VirtualHardware | None:
    if part is None:
        return None
    if part.firmware and part.append:
        raise file.error(
            ("farm", "virtual", "append"),
            "this is for a kernel that QEMU loads itself; where firmware does, the strategy has "
            "'bootargs'",
        )
    if part.disk and not part.firmware:
        raise file.error(
            ("farm", "virtual", "disk"),
            "this is where firmware finds the kernel, and the board has no 'firmware'",
        )
    return VirtualHardware(
        machine=part.machine,
        cpu=part.cpu,
        smp=part.smp,
        memory_mib=part.memory_mib,
        devices=tuple(part.devices),
        append=part.append,
        coherent=part.coherent,
        default=part.default,
        firmware=FirmwareSource(**part.firmware.model_dump()) if part.firmware else None,
        exact=part.exact,
        disk=part.disk,
    )
