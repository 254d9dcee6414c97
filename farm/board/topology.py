"""What a board is made of, as its sysfs says: IOMMU groups, devices, nodes, heaps, memory.

What of a device's constraints sysfs does not have is under ``absent``, each with the reason; the
suite ``constraints`` finds by trial what can be found so.

The payload looks (``testsuites/payload/topology.c``): a shell on a small board takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farm.errors import ProtocolError

MAX_TOLD = 1 << 20
"""Characters that one board may tell about itself: the journal keeps them in one event."""

_NOT_IN_SYSFS = {
    "max_segment_size": "the kernel has no sysfs attribute for it",
    "dma_mask_bits": "sysfs has it for PCI devices only",
    "coherent": "only a device tree says it, and not of devices that no bus describes",
}
_NO_CMA_AREAS = (
    "no area in /sys/kernel/mm/cma: a kernel without CONFIG_CMA_SYSFS, or none is set up; "
    "CmaTotal of memory_kib is all of them together"
)


def parse(records: Sequence[str]) -> dict[str, Any]:
    """Return the topology that the payload's records tell, each section, key and value.

    Returns:
        plain JSON: ``iommu_groups`` (id, type, devices), ``devices`` by name (driver, iommu,
        iommu_group, dma_mask_bits, coherent …), ``drm`` and ``v4l2`` nodes (node, name, device,
        driver, and pci: the PCI function they belong to), ``heaps``, ``udmabuf``, ``cma`` (pages
        of each area), ``memory_kib``, ``board``,
        ``unloaded`` (kind, module, reason: what the image was to load at boot and did not), and
        under ``absent`` what cannot be had, with the reason.

    Raises:
        ProtocolError: they are too many, or no such records.
    """
    told = sum(map(len, records))
    if told > MAX_TOLD:
        raise ProtocolError(f"the board's topology has {told} characters, limit {MAX_TOLD}")
    groups: dict[str, dict[str, Any]] = {}
    devices: dict[str, dict[str, str]] = {}
    nodes: dict[str, dict[str, dict[str, str]]] = {"drm": {}, "v4l2": {}}
    flat: dict[str, dict[str, str]] = {
        section: {} for section in ("heap", "udmabuf", "cma", "memory", "board")
    }
    unloaded: list[dict[str, str]] = []
    for record in records:
        section, _, rest = record.partition("\t")
        key, tab, value = rest.partition("\t")
        value = value.strip()
        *path, field = key.split("/")
        if not tab:
            raise ProtocolError(f"the board's topology has a record {record[:120]!r}")
        if section == "group" and len(path) == 1:
            group = groups.setdefault(path[0], {"id": path[0], "type": "", "devices": []})
            if field == "device":
                group["devices"].append(value)
            else:
                group["type"] = value
        elif section == "device" and len(path) == 1:
            devices.setdefault(path[0], {})[field] = value
        elif section == "node" and len(path) == 2 and path[0] in nodes:
            nodes[path[0]].setdefault(path[1], {"node": path[1]})[field] = value
        elif section == "unloaded" and len(path) == 1:
            unloaded.append({"kind": path[0], "module": field, "reason": value})
        elif section in flat:
            flat[section][key] = value
        else:
            raise ProtocolError(f"the board's topology has a record {record[:120]!r}")
    return {
        "iommu_groups": sorted(groups.values(), key=lambda group: _natural(str(group["id"]))),
        "devices": dict(sorted(devices.items())),
        "drm": [nodes["drm"][name] for name in sorted(nodes["drm"], key=_natural)],
        "v4l2": [nodes["v4l2"][name] for name in sorted(nodes["v4l2"], key=_natural)],
        "heaps": sorted(flat["heap"]),
        "udmabuf": flat["udmabuf"],
        "cma": flat["cma"],
        "memory_kib": flat["memory"],
        "board": flat["board"],
        "unloaded": unloaded,
        "absent": _NOT_IN_SYSFS | ({} if flat["cma"] else {"cma": _NO_CMA_AREAS}),
    }


def _natural(name: str) -> tuple[str, int]:
    head = name.rstrip("0123456789")
    tail = name[len(head) :][:18]
    return head, int(tail) if tail else -1
