"""Sharing: a udmabuf of huge pages is an exporter of its own, contiguous where others are not."""

from dataclasses import replace

import pytest

from farm.pytest_plugin.api import CaseFailed, Device
from farm.pytest_plugin.expectations import Outcome, Seen

VMAP_OF_HEADS = (
    "vmap_udmabuf() maps the head page of each folio instead of the page: with huge pages the CPU "
    "writes one page again and again (drivers/dma-buf/udmabuf.c, Linux 6.12)"
)


def of_huge_pages(device: Device) -> Device:
    """Return what a udmabuf of huge pages is as an exporter, beside the one that is scattered."""
    return replace(device, id=f"{device.id}-huge", driver="udmabuf-huge", address="udmabuf:huge")


def maps_heads(board) -> bool:
    """Whether the kernel's udmabuf is known to give wrong content to who maps it for the CPU.

    Seen on 6.12, not on 7.2, where it keeps pages instead of folios; nothing in between was seen.
    """
    return board.kernel.at_least(6, 12) and not board.kernel.at_least(6, 13)


@pytest.mark.requirement("SHR-3", "CON-1", "CPU-2")
@pytest.mark.case("share")
@pytest.mark.over(exporter="udmabuf exporter", importer="importer single")
def test_huge_pages_carry_the_content_or_are_refused(
    board, exporter, importer, expect, matrix_cell, request
):
    """A device that needs contiguous memory takes them; who writes with the CPU may err."""
    if "bounces" in board.type.features and importer.kind == "refdev":
        pytest.skip("whether a huge page is bounced depends on where the allocator found it")
    if maps_heads(board) and importer.kind == "v4l2":
        request.applymarker(pytest.mark.xfail(raises=CaseFailed, reason=VMAP_OF_HEADS))
    huge = of_huge_pages(exporter)
    try:
        result = board.run("share", exporter=huge, importer=importer, size=1 << 20)
    except CaseFailed as failed:
        if failed.result.info.get("outcome") == Outcome.SHARED:
            matrix_cell(huge, importer, "wrong")
        raise
    outcome = result.info["outcome"]
    errno = "" if outcome == Outcome.SHARED else result.info["errno"]
    matrix_cell(huge, importer, outcome, errno)
    attaches = int(result.counter("dma_buf_attach", phase="import"))
    maps = int(result.counter("dma_map_sg", phase="import"))
    expect.judge(huge, importer, Seen(outcome, errno, attaches, maps))
