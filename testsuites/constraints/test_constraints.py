"""Constraints: memory that a device cannot reach is refused, memory that it can is taken."""

import pytest

from farm.pytest_plugin.api import Device, control

COMPLAINT = "contiguous chunk is too small"


@pytest.mark.requirement("CON-1")
@pytest.mark.case("contiguous_only")
@pytest.mark.over(importer="v4l2 importer contiguous")
def test_contiguous_device_refuses_scattered_memory(board, importer):
    """Scatter is EFAULT with the reason in the log and nothing left mapped; contiguous works."""
    if not any(device.kind == "udmabuf" for device in board.devices):
        pytest.skip(f"{board.profile.name} declares no udmabuf, so nothing is scattered on purpose")
    if "bounces" in board.type.features:
        pytest.skip("what is scattered is bounced, and may be contiguous where it is bounced to")
    result = board.run("contiguous_only", importer=importer)
    assert any(COMPLAINT in line for line in result.dmesg), (
        f"no '{COMPLAINT}' in the kernel log, so EFAULT may have another reason: {result.dmesg}"
    )
    maps = result.counter("dma_map_sg", phase="scattered")
    control(maps, f"{importer.id} mapped nothing, so its refusal was not about the map")
    assert result.counter("dma_unmap_sg", phase="scattered") == maps
    assert result.counter("dma_map_sg", phase="contiguous") == 1


def makes_contiguous(device: Device) -> bool:
    """An exporter whose buffers are one physical run."""
    return device.exports and (device.contiguous or device.driver == "cma_heap")


@pytest.mark.requirement("CON-1")
@pytest.mark.case("share")
@pytest.mark.over(exporter=makes_contiguous, importer="v4l2 importer contiguous")
def test_contiguous_device_takes_contiguous_memory(board, exporter, importer, expect):
    """Its own exported buffer and the CMA heap's suit it, and hold the frame that it writes."""
    expected = expect.sharing(exporter, importer)
    control(expected.maps, f"{importer.id} maps nothing, so it cannot mind how memory lies")
    result = board.run("share", exporter=exporter, importer=importer)
    assert result.counter("dma_map_sg", phase="import") == expected.maps
