"""What board types and image profiles declare alike: features, devices, names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from farm.model import Device, DeviceKind
from farm.yamlfile import YamlFile, nearest

FEATURES: Mapping[str, str] = {
    "iommu": "DMA of the devices under test goes through an IOMMU",
    "coherent": "devices snoop the CPU's caches",
    "noncoherent": "devices do not snoop the CPU's caches",
    "bounces": "memory lies beyond what 32-bit devices reach, so the kernel copies for them",
    "gpu": "a GPU or display controller with a DRM driver",
    "codec": "a stateful or stateless video codec",
    "capture": "a video capture device",
    "pmu": "a CPU performance monitoring unit that counts",
    "tracepoints": "the kernel has tracepoints and a tracefs",
    "debugfs": "the kernel has a debugfs with dma_buf/bufinfo",
    "dma_api_debug": "the kernel checks how drivers use the DMA API, and leaves out no sync",
    "udmabuf": "/dev/udmabuf",
    "vgem": "the vgem driver, whose fences user space can attach and signal",
    "vivid": "the virtual video test driver",
    "heaps": "/dev/dma_heap",
    "sw_sync": "debugfs sync/sw_sync",
    "refdev": "the driver of the reference device",
    "refdev_refused": "a reference device whose address bits do not reach memory, and no IOMMU",
    "igt": "IGT GPU tools are installed",
}
"""Every feature that a board type or an image profile may declare, with its meaning."""

Fourcc = Annotated[str, Field(pattern=r"^[A-Z0-9]{4}$|^$")]
"""A V4L2 pixel format by the letters of its fourcc: ``YU12``, ``XR24``, ``FWHT``."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]

PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]{0,80}$")]
"""Name of a Debian package (Debian Policy 5.6.7), whose letters may be ``+`` too."""

Source = Annotated[
    str,
    Field(
        pattern=r"^\d+\.\d+(\.\d+)? "
        r"(arch|drivers|include|kernel|sound|Documentation)/[A-Za-z0-9_,./+-]+"
        r"( [A-Za-z0-9_@,./&*\[\]()=:-]+)*$"
    ),
]
"""A place in the kernel's source: release, path, and the node or name in it where there is one.

``6.12.107 arch/arm64/boot/dts/rockchip/rk3588-base.dtsi vop@fdd90000``
"""

ProfileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+~:-]{0,62}$")]
"""Name of an image profile: ``reference-6.12+debug``, ``debian:6.12.90+deb12``."""


class DeviceFile(BaseModel, extra="forbid", frozen=True):
    """One entry of ``devices:``."""

    id: Name
    kind: DeviceKind
    driver: str = Field(min_length=1)
    address: str = Field(
        pattern=r"^(drm|v4l2|m2m|heap):[A-Za-z0-9_.,:-]+$|^udmabuf$|^refdev(:\d+)?$"
    )
    exports: bool = False
    imports: bool = False
    iommu: bool = False
    contiguous: bool = False
    cpu_only: bool = False
    control: bool = False
    module: str = ""
    own_domain: bool = False
    coherent: bool | None = None
    dma_mask_bits: int = Field(default=0, ge=0, le=64)
    sources: tuple[Source, ...] = ()
    coded: Fourcc = ""
    encodes: bool = False
    decodes: bool = False
    stateless: bool = False
    formats: tuple[Fourcc, ...] = ()
    exact: tuple[Literal["noise", "blocks", "scene"], ...] = ()
    psnr_db: float = Field(default=0.0, ge=0, le=100)
    crc: bool = False

    @model_validator(mode="after")
    def _codec(self) -> Self:
        codec = self.encodes or self.decodes
        if codec and not self.coded:
            raise ValueError("a codec states the fourcc of its coded format: coded: FWHT")
        if codec and self.kind is not DeviceKind.M2M:
            raise ValueError("a codec is of kind m2m")
        if self.encodes and self.decodes and not self.stateless and not self.psnr_db:
            raise ValueError("what encodes and decodes states the least quality in dB: psnr_db: 30")
        if self.encodes and self.decodes and not self.stateless and not self.formats:
            raise ValueError("what encodes and decodes states its raw formats: formats: [NV12]")
        return self

    def device(self) -> Device:
        """Return the device that the entry describes."""
        return Device(**self.model_dump())


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A device that is there and that no test uses: how it is found, and why it is left out."""

    address: str
    reason: str


class LeftOutFile(BaseModel, extra="forbid", frozen=True):
    """One entry of ``left_out:``; the address is of a kind that a board can be searched for."""

    address: str = Field(pattern=r"^(drm|v4l2|m2m|heap):[!-~]{1,80}$")
    reason: str = Field(min_length=20)


def check_features(file: YamlFile, at: tuple[str, ...], features: list[str]) -> None:
    """Make sure that each feature is one of :data:`FEATURES`.

    Raises:
        ConfigError: one is not.
    """
    for number, feature in enumerate(features):
        if feature not in FEATURES:
            known = frozenset(FEATURES)
            raise file.error(
                (*at, number),
                f"unknown feature '{feature}'{nearest(feature, known)}",
                next_step=f"known features: {', '.join(sorted(known))}",
            )


def read_devices(
    file: YamlFile, at: tuple[str, ...], entries: list[DeviceFile]
) -> tuple[Device, ...]:
    """Return the devices of a list of entries.

    Raises:
        ConfigError: an id stands there twice.
    """
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        if entry.id in seen:
            raise file.error((*at, number, "id"), f"the device '{entry.id}' stands here twice")
        seen.add(entry.id)
    return tuple(entry.device() for entry in entries)


def read_left_out(
    file: YamlFile,
    at: tuple[str, ...],
    entries: Iterable[LeftOutFile],
    devices: Iterable[Device],
) -> tuple[LeftOut, ...]:
    """Return what a list of entries leaves out.

    Raises:
        ConfigError: one of it is declared as well, in the same file.
    """
    declared = {device.address for device in devices}
    left = []
    for number, entry in enumerate(entries):
        if entry.address in declared:
            raise file.error(
                (*at, number, "address"),
                f"'{entry.address}' is declared among the devices as well",
            )
        left.append(LeftOut(entry.address, " ".join(entry.reason.split())))
    return tuple(left)
