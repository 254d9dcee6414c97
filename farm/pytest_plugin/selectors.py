"""Selectors of ``@pytest.mark.over(axis=…)``: words that choose among the declared devices."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable

from farm.errors import UsageError
from farm.model import Device, DeviceKind

Selector = str | Callable[[Device], bool]

MEMORY = ("udmabuf", "vgem")
"""Drivers of which any program gets pages that lie behind no device, the first choice first."""

WORDS: dict[str, Callable[[Device], bool]] = {
    "drm": lambda device: device.kind is DeviceKind.DRM,
    "v4l2": lambda device: device.kind is DeviceKind.V4L2,
    "m2m": lambda device: device.kind is DeviceKind.M2M,
    "single": lambda device: device.kind is not DeviceKind.M2M,  # does not want two buffers a frame
    "udmabuf": lambda device: device.kind is DeviceKind.UDMABUF,
    "heap": lambda device: device.kind is DeviceKind.HEAP,
    "refdev": lambda device: device.kind is DeviceKind.REFDEV,
    "plain": lambda device: (
        device.kind in (DeviceKind.UDMABUF, DeviceKind.HEAP, DeviceKind.V4L2)
    ),  # no GPU's memory
    "memory": lambda device: device.driver in MEMORY,  # of the first of them that is declared
    "importer": lambda device: device.imports,
    "exporter": lambda device: device.exports,
    "control": lambda device: device.control,
    "iommu": lambda device: device.iommu,
    "contiguous": lambda device: device.contiguous,
    "cpu_only": lambda device: device.cpu_only,
    "codec": lambda device: device.encodes and device.decodes and not device.stateless,
    "crc": lambda device: device.crc,
    "dma": lambda device: device.imports and not device.cpu_only,
}
"""Each word of a selector and what it asks of a device; all words must hold."""


def select(selector: Selector, devices: Iterable[Device]) -> list[Device]:
    """Return the devices that a selector chooses, in the order of their declaration.

    Raises:
        UsageError: the selector has a word that is none.
    """
    if callable(selector):
        return [device for device in devices if selector(device)]
    asked = []
    for word in selector.split():
        if word not in WORDS:
            near = difflib.get_close_matches(word, WORDS, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UsageError(
                f"selector {selector!r}: unknown word {word!r}{hint}; known: {', '.join(WORDS)}"
            )
        asked.append(WORDS[word])
    chosen = [device for device in devices if all(holds(device) for holds in asked)]
    if "memory" in selector.split():
        first = min((MEMORY.index(device.driver) for device in chosen), default=0)
        chosen = [device for device in chosen if device.driver == MEMORY[first]]
    return chosen


def describe(selector: Selector) -> str:
    """Return what a selector asks for, as said in a skip: "declares no …".

    Of a function that is its docstring's first sentence, without the article: "A codec that …".
    """
    if not callable(selector):
        return selector
    first = re.split(r"\.\s", inspect.getdoc(selector) or "", maxsplit=1)[0]
    said = " ".join(first.split()).removesuffix(".")
    return re.sub("^An? ", "", said) or "device of that kind"
