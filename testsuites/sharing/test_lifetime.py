"""Sharing: what a device has attached it can use, whoever else is gone."""

import pytest

from farm.pytest_plugin.api import Device


def of_the_kernel(device: Device) -> bool:
    """A heap, udmabuf, or vgem: memory that stays as long as anybody holds it."""
    return device.exports and device.driver in ("system_heap", "cma_heap", "udmabuf", "vgem")


@pytest.mark.requirement("SHR-5")
@pytest.mark.case("exporter_gone")
@pytest.mark.over(exporter=of_the_kernel, importer="refdev importer")
def test_device_reads_what_its_exporter_left(board, exporter, importer, expect):
    """Its DMA finds what a closed or killed exporter left, and detaching frees the buffer."""
    if "debugfs" not in board.type.features | board.profile.features:
        pytest.skip(f"{board.type.name} declares no debugfs, so what is left cannot be seen")
    beyond = "bounces" in board.type.features and not importer.iommu
    if beyond and exporter.driver != "cma_heap":
        pytest.skip(f"{exporter.id} is bounced, or refused for its long runs: see test_sharing.py")
    expected = expect.sharing(exporter, importer)
    board.run("exporter_gone", exporter=exporter, importer=importer, attaches=expected.attaches)


@pytest.mark.requirement("SHR-5")
@pytest.mark.case("exporter_gone")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_queue_keeps_what_its_exporter_left(board, exporter, importer, expect):
    """A killed exporter's buffer that a video device has queued keeps its content, and is freed."""
    # A queue keeps its buffers until VIDIOC_REQBUFS with 0, whatever became of the stream:
    # vb2_core_reqbufs(), drivers/media/common/videobuf2/videobuf2-core.c, 6.12.
    if "debugfs" not in board.type.features | board.profile.features:
        pytest.skip(f"{board.type.name} declares no debugfs, so what is left cannot be seen")
    expected = expect.streaming(exporter, importer)
    # First nobody but the queue holds it while it is worked on, then a mapping shows the content.
    pair = {"exporter": exporter, "importer": importer, "attaches": expected.attaches}
    for mapped in (False, True):
        board.run("exporter_gone", **pair, how="kill", mapped=mapped)
