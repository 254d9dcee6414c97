"""What the codec suite shares: what a codec is given, by its own declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from farm.pytest_plugin.api import Board, CaseResult, Device
from farm.pytest_plugin.expectations import Outcome

ANY_SIZE = ("udmabuf", "heap")
"""Kinds of exporter whose buffers are as large as they are asked to be."""


@pytest.fixture
def memory_for(board: Board, expect) -> Callable[..., Device]:
    """Find an exporter of plain memory, each buffer of which the importers take."""

    def find(*importers: Device) -> Device:
        for device in board.devices:
            if device.exports and device.kind in ANY_SIZE:
                rows = [expect.find(device, importer) for importer in importers]
                if all(row is not None and row.outcome is Outcome.SHARED for row in rows):
                    return device
        names = ", ".join(importer.id for importer in importers)
        pytest.skip(f"no memory of {board.type.name} is sure to suit {names}")

    return find


@pytest.fixture
def stream_of(memory_for) -> Callable[..., dict[str, object]]:
    """Return what a case with a codec takes: format and content that it has, the quality declared.

    Without a choice it is the first raw format, and content that comes back as it was if there is
    any; else a scene, judged by its PSNR.
    """

    def arguments(codec: Device, format: str = "", content: str = "") -> dict[str, object]:
        if format and format not in codec.formats:
            pytest.skip(f"{codec.id} is not declared for {format}")
        content = content or next(
            (one for one in ("blocks", *codec.exact) if one in codec.exact), "scene"
        )
        if content != "scene" and content not in codec.exact:
            pytest.skip(f"{codec.id} keeps no {content}, and how good it comes back says nothing")
        return {
            "codec": codec,
            "coded": codec.coded,
            "format": format or codec.formats[0],
            "content": content,
            "quality": "exact" if content in codec.exact else f"{codec.psnr_db:g}",
            "exporter": memory_for(codec),
        }

    return arguments


@pytest.fixture
def codec_maps(expect) -> Callable[[CaseResult, Device, Device, Device], int]:
    """Return how many DMA maps a codec needs for all buffers of its four queues.

    A coded buffer is in two of them.
    """

    def count(result: CaseResult, codec: Device, raw: Device, memory: Device) -> int:
        buffers: Mapping[str, int] = {
            name: int(result.info[f"{name}_buffers"]) for name in ("raw", "coded", "decoded")
        }
        of_raw, of_memory = (expect.of_import(one, codec).maps for one in (raw, memory))
        return buffers["raw"] * of_raw + (2 * buffers["coded"] + buffers["decoded"]) * of_memory

    return count
