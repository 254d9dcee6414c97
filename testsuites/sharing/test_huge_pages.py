"""Sharing: a udmabuf of huge pages is an exporter of its own, contiguous where others are not."""

from dataclasses import replace

import pytest

from farm.pytest_plugin.api import CaseFailed, Device
from farm.pytest_plugin.expectations import Outcome, Seen


def of_huge_pages(device: Device) -> Device:
    """Return what a udmabuf of huge pages is as an exporter, beside the one that is scattered."""
    return replace(device, id=f"{device.id}-huge", driver="udmabuf-huge", address="udmabuf:huge")


@pytest.mark.requirement("SHR-3", "CON-1", "CPU-2")
@pytest.mark.case("share", "map_control")
@pytest.mark.over(exporter="udmabuf exporter", importer="importer single")
def test_huge_pages_carry_the_content_or_are_refused(
    board, exporter, importer, expect, matrix_cell, counting_control, request
):
    """A device that needs contiguous memory takes them; who writes with the CPU may err."""
    if "bounces" in board.type.features and importer.kind == "refdev":
        pytest.skip("whether a huge page is bounced depends on where the allocator found it")
    huge = of_huge_pages(exporter)
    with expect.wrong_vmap_of_huge_pages(request, importer=importer, shown=importer.crc):
        try:
            result = board.run(
                "share", exporter=huge, importer=importer, size=1 << 20, crc=int(importer.crc)
            )
        except CaseFailed as failed:
            if failed.result.info.get("outcome") == Outcome.SHARED:
                matrix_cell(huge, importer, "wrong")
            raise
    outcome, errno = matrix_cell.told(huge, importer, result.info)
    attaches = int(result.counter("dma_buf_attach", phase="import"))
    maps = int(result.counter("dma_map_sg", phase="import"))
    expect.judge(huge, importer, Seen(outcome, errno, attaches, maps))
    if not maps:
        counting_control()
