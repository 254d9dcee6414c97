"""A board's video nodes, and which of them lends ``v4l2-compliance`` buffers to import."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from farm.external.results import MAX_REASON, clean
from farm.model import Device, DeviceKind

IMPORTERS = "/dev/video"
"""What the paths of nodes with frames begin with, which are given buffers to import."""

NO_EXPORTER = "no exporter"
"""The name of the case that says of a node that nothing could be imported into it, and why."""

_HEADING = re.compile(r"\S.*\(([^()]+)\):")
_PREFERRED = ("output", "m2m", "capture")
_EXPORTS = "0"


class Node(NamedTuple):
    """A V4L2 device node: its path, its driver's name for it, and what QUERYCAP calls its bus."""

    path: str
    name: str
    bus: str

    def belongs_to(self, device: Device) -> bool:
        """Return whether a declared device of kind ``v4l2`` has this node."""
        return device.kind == DeviceKind.V4L2 and self._is_of(device)

    def is_contiguous(self, devices: Iterable[Device]) -> bool:
        """Return whether a declared device has this node whose memory is in one piece."""
        kinds = (DeviceKind.V4L2, DeviceKind.M2M)
        return any(one.contiguous and one.kind in kinds and self._is_of(one) for one in devices)

    def _is_of(self, device: Device) -> bool:
        return device.address.partition(":")[2] == self.bus


class Exporter(NamedTuple):
    """The node whose buffers another is to import; without one, ``lacking`` says why."""

    path: str = ""
    lacking: str = ""


def parse_nodes(listed: str, names: Mapping[str, str]) -> list[Node]:
    """Return the nodes of ``v4l2-ctl --list-devices`` that ``names`` has a driver's name for."""
    found, bus = [], ""
    for line in listed.splitlines():
        if match := _HEADING.fullmatch(line.strip()):
            bus = match[1].removeprefix("platform:")
        elif (node := line.strip().removeprefix("/dev/")) in names:
            found.append(Node(f"/dev/{node}", clean(names[node], 60).replace(" ", "-"), bus))
    return found


def exporter_for(
    node: Node,
    device: Device | None,
    nodes: Sequence[Node],
    devices: Sequence[Device],
    told: Mapping[str, str],
) -> Exporter:
    """Return the node whose buffers ``node`` of ``device`` is to import.

    ``told`` is what the payload case ``video_exporters`` found of each node with frames:
    ``capture 0``, or ``output ENOTTY`` where VIDIOC_EXPBUF, or having a buffer, is refused. One
    that exports is taken if the importer can reach its memory: contiguous memory before other,
    a capture node before one of a codec, and that before an output. Never the importer itself,
    whose queue is busy.
    """
    found: list[tuple[bool, int, str]] = []
    lacking: list[str] = []
    for other in nodes:
        role, _, errno = told.get(other.path.removeprefix("/dev/"), "").partition(" ")
        if other == node or role not in _PREFERRED:
            continue
        contiguous = other.is_contiguous(devices)
        if errno != _EXPORTS:
            lacking.append(f"{other.path} exports nothing: {clean(errno, 40)}")
        elif device is not None and device.contiguous and not contiguous:
            lacking.append(f"{other.path} has memory of many pieces, {device.id} takes one")
        else:
            found.append((contiguous, _PREFERRED.index(role), other.path))
    if found:
        return Exporter(max(found)[-1])
    why = "; ".join(lacking) or "the board has no other node with frames"
    return Exporter(lacking=clean(f"{NO_EXPORTER} for {node.path}: {why}", MAX_REASON))
