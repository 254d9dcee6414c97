"""Selectors of the ``over`` marker."""

from __future__ import annotations

import pytest

from farm.errors import UsageError
from farm.model import Device, DeviceKind
from farm.pytest_plugin.selectors import WORDS, describe, select


def device(name: str, kind: DeviceKind, **flags: bool) -> Device:
    flags = {"exports": True, "imports": True, **flags}
    return Device(name, kind, name, f"{kind}:{name}", **flags)  # type: ignore[arg-type]


DEVICES = (
    device("cirrus", DeviceKind.DRM, iommu=True, control=True),
    device("vgem", DeviceKind.DRM),
    device("vivid", DeviceKind.V4L2, cpu_only=True),
    device("contig", DeviceKind.V4L2, contiguous=True),
    device("udmabuf", DeviceKind.UDMABUF, imports=False),
    device("system", DeviceKind.HEAP, imports=False),
    device("codec", DeviceKind.M2M, cpu_only=True, encodes=True, decodes=True),
    device("stateless", DeviceKind.M2M, decodes=True, stateless=True),
    device("vkms", DeviceKind.DRM, crc=True),
    device("edu", DeviceKind.REFDEV, exports=False, iommu=True),
)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("drm importer", ["cirrus", "vgem", "vkms"]),
        ("importer", ["cirrus", "vgem", "vivid", "contig", "codec", "stateless", "vkms", "edu"]),
        ("importer dma", ["cirrus", "vgem", "contig", "stateless", "vkms", "edu"]),
        ("refdev importer", ["edu"]),
        ("cpu_only", ["vivid", "codec"]),
        ("codec", ["codec"]),
        ("plain exporter", ["vivid", "contig", "udmabuf", "system"]),
        ("v4l2 contiguous", ["contig"]),
        ("control iommu", ["cirrus"]),
        ("heap", ["system"]),
        ("udmabuf importer", []),
        ("memory exporter", ["udmabuf"]),
        ("", [one.id for one in DEVICES]),
    ],
)
def test_words_are_anded(selector: str, names: list[str]) -> None:
    assert [one.id for one in select(selector, DEVICES)] == names


def test_memory_is_that_of_the_first_driver_there_is() -> None:
    without = [one for one in DEVICES if one.driver != "udmabuf"]
    assert [one.id for one in select("memory exporter", without)] == ["vgem"]
    assert select("memory exporter", [one for one in without if one.driver != "vgem"]) == []


def test_a_function_chooses() -> None:
    def fast_one(one: Device) -> bool:
        """A device that is fast, or
        says so. Nobody asks it twice.
        """
        return one.id.startswith("v")

    assert [one.id for one in select(fast_one, DEVICES)] == ["vgem", "vivid", "vkms"]
    assert describe(fast_one) == "device that is fast, or says so"


def test_a_function_that_says_nothing_is_of_some_kind() -> None:
    assert describe(lambda one: one.imports) == "device of that kind"


def test_an_unknown_word_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown word 'importr' .did you mean 'importer'"):
        select("drm importr", DEVICES)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_chooses_something_and_not_everything(word: str) -> None:
    assert 0 < len(select(word, DEVICES)) <= len(DEVICES)
