"""Which import proves that maps are counted: pairs of devices, in the order to try them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from farm.model import Device, DeviceKind
from farm.pytest_plugin.expectations import Import, Outcome

MEMORY = (DeviceKind.UDMABUF, DeviceKind.DRM)
"""Whose buffers a control imports: memory of the kernel's first, then another GPU's."""

READY = (DeviceKind.REFDEV, DeviceKind.DRM)
"""Kinds that need no signal, stream or format to import."""


def mapping_pairs(
    devices: Iterable[Device], find: Callable[[Device, Device], Import | None]
) -> tuple[list[tuple[Device, Device]], list[tuple[Device, Device]]]:
    """Return pairs of exporter and importer that are sure to map, and those of which none can say.

    The surest come first: a declared control, then what needs nothing but a buffer to import it.
    Where the allocator decides what becomes of an import it may fail before it maps, so that is
    last. ``find`` gives what is expected of a pair, None where nothing is.
    """
    known = list(devices)
    sure, unknown = [], []
    for exporter in known:
        for importer in known:
            takes = exporter.exports and importer.imports and exporter.id != importer.id
            if not takes or exporter.kind not in MEMORY or importer.cpu_only:
                continue
            row = find(exporter, importer)
            order = (
                row is not None and row.outcome is Outcome.EITHER,
                not importer.control,
                importer.kind not in READY,
                importer.id,
                MEMORY.index(exporter.kind),
            )
            if row is None:
                unknown.append((order, exporter, importer))
            elif row.maps:
                sure.append((order, exporter, importer))
    return _in_order(sure), _in_order(unknown)


def _in_order(
    pairs: list[tuple[tuple[bool, bool, bool, str, int], Device, Device]],
) -> list[tuple[Device, Device]]:
    return [(exporter, importer) for _, exporter, importer in sorted(pairs, key=lambda one: one[0])]
