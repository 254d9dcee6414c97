"""A board's topology as it told of itself: which IOMMU serves which device, and who shares.

What a board told may be of any shape and size; what does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from farm.store.records import JobRecord

MAX_CHIPS = 48
"""Devices of one board that are told apart; a board with more is cut."""

_HARDWARE = re.compile(r"([0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|[0-9a-f]{5,16}\..+")
"""Names in sysfs of devices on a bus: PCI functions, and nodes of a device tree with an address."""


class Path(StrEnum):
    """How the devices of a frame reach memory."""

    IOMMU = "iommu"
    DIRECT = "direct"
    SOFTWARE = "software"


@dataclass(frozen=True, slots=True)
class Chip:
    """A device: its name in tests, or in sysfs where no test knows it (then it has no roles)."""

    name: str
    driver: str
    at: str
    group: str
    exports: bool = False
    imports: bool = False
    tested: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Devices that reach memory in one way; ``name`` is the IOMMU's, if one translates."""

    path: Path
    name: str
    chips: tuple[Chip, ...]


def frames(job: JobRecord) -> tuple[Frame, ...]:
    """Return the devices of a board's last boot by how they reach memory; IOMMUs first."""
    told = job.boots[-1].topology if job.boots else {}
    devices = {
        str(name): about
        for name, about in _mapping(told.get("devices")).items()
        if isinstance(about, Mapping)
    }
    groups = {
        str(_mapping(member).get("name", "") or member): group
        for group in map(_mapping, _list(told.get("iommu_groups")))
        for member in _list(group.get("devices"))
    }
    found: dict[tuple[Path, str], list[Chip]] = {}
    placed: set[str] = set()
    for declared in map(_mapping, _list(told.get("declared"))):
        at = _sysfs_name(declared, told, devices, placed)
        placed.add(at)
        _place(found, at, devices, groups, _declared(declared, at, groups))
    others = [name for name in (*groups, *_with_nodes(told)) if name not in placed]
    for name in dict.fromkeys(others):
        chip = Chip(name, _text(devices.get(name, {}).get("driver")), "", _group(groups.get(name)))
        _place(found, name, devices, groups, chip)
    order = list(Path)
    rows = sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return tuple(Frame(path, name, tuple(chips[:MAX_CHIPS])) for (path, name), chips in rows)


def _place(
    found: dict[tuple[Path, str], list[Chip]],
    at: str,
    devices: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Mapping[str, Any]],
    chip: Chip,
) -> None:
    if at in groups and groups[at].get("type") != "identity":
        key = (Path.IOMMU, _text(devices.get(at, {}).get("iommu")))
    else:
        key = (Path.DIRECT if _HARDWARE.fullmatch(at) else Path.SOFTWARE, "")
    found.setdefault(key, []).append(chip)


def _declared(
    declared: Mapping[str, Any], at: str, groups: Mapping[str, Mapping[str, Any]]
) -> Chip:
    return Chip(
        name=_text(declared.get("id")),
        driver=_text(declared.get("driver")),
        at=at,
        group=_group(groups.get(at)),
        exports=bool(declared.get("exports")),
        imports=bool(declared.get("imports")),
        tested=True,
    )


def _group(group: Mapping[str, Any] | None) -> str:
    return f"group {_text(group.get('id'))}, {_text(group.get('type'))}" if group else ""


def _sysfs_name(
    declared: Mapping[str, Any],
    told: Mapping[str, Any],
    devices: Mapping[str, Mapping[str, Any]],
    placed: Iterable[str],
) -> str:
    """Return the name in sysfs of a declared device, or nothing: by its driver, whatever its name.

    Kernels call one driver by several names, which the address lists; a driver of a virtio device
    is not the one of the PCI function that it sits on.
    """
    driver = _alike(_text(declared.get("driver")))
    names = _text(declared.get("address")).partition(":")[2].split(",")
    wanted = {driver, *map(_alike, filter(None, names))}
    nodes = [_mapping(node) for node in _list(told.get(_text(declared.get("kind"))))]
    named = [node for node in nodes if names[0] and _text(node.get("name")).startswith(names[0])]
    for node in (*named, *nodes):
        at = _text(node.get("pci") or node.get("device"))
        drivers = {_alike(_text(one.get("driver"))) for one in (node, devices.get(at, {}))}
        on_virtio = driver.startswith("virtio") and "virtio-pci" in drivers
        if wanted & drivers or _alike(at) == driver or on_virtio:
            return at
    same = (at for at, one in devices.items() if _alike(_text(one.get("driver"))) in wanted)
    return next((at for at in same if at not in placed), "")


def _with_nodes(told: Mapping[str, Any]) -> list[str]:
    nodes = [_mapping(node) for kind in ("drm", "v4l2") for node in _list(told.get(kind))]
    return [name for node in nodes if (name := _text(node.get("pci") or node.get("device")))]


def _alike(text: str) -> str:
    return text.replace("_", "-")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
