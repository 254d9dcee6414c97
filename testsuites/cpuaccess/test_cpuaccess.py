"""CPU access: importers without DMA, and what a dma-buf's own file operations refuse."""

from dataclasses import replace

import pytest

from farm.pytest_plugin.api import CaseResult, Device


def no_frame_size_of_its_own(device: Device) -> bool:
    """An exporter that makes a buffer of any size; a video device's is as large as its frame."""
    return device.exports and device.kind not in ("v4l2", "m2m")


def reads(device: Device) -> bool:
    """A memory-to-memory device that reads with the CPU; visl draws, and reads nothing."""
    return device.kind == "m2m" and device.cpu_only and device.driver != "visl"


def assert_nothing_mapped(result: CaseResult, phase: str) -> None:
    """Neither attached nor mapped for DMA."""
    for counter in ("dma_buf_attach", "dma_map_sg"):
        assert result.counter(counter, phase=phase) == 0, f"{counter} during {phase}"


@pytest.mark.requirement("CPU-1")
@pytest.mark.case("cpu_import", "map_control")
@pytest.mark.over(exporter="exporter", importer="v4l2 importer cpu_only")
def test_cpu_importer_maps_nothing(board, exporter, importer, expect, mapping_control):
    """An importer that writes with the CPU needs no attachment and no map for the right content."""
    expect.sharing(exporter, importer)
    result = board.run("cpu_import", exporter=exporter, importer=importer)
    for phase in ("import", "frame"):
        assert_nothing_mapped(result, phase)
    mapping_control()


@pytest.mark.requirement("CPU-1")
@pytest.mark.case("cpu_read", "map_control")
@pytest.mark.over(exporter=no_frame_size_of_its_own, importer="v4l2 importer cpu_only")
def test_cpu_importer_reads_what_was_written(board, exporter, importer, expect, mapping_control):
    """An output that reads with the CPU sees every page of the buffer, and maps nothing for it."""
    expect.sharing(exporter, importer)
    result = board.run("cpu_read", exporter=exporter, importer=importer)
    for phase in ("import", "frames"):
        assert_nothing_mapped(result, phase)
    mapping_control()


def assert_one_range(result: CaseResult) -> None:
    """Taken as one range of kernel addresses, at the import and not again, without DMA."""
    assert result.counter("dma_buf_vmap", phase="import") == 1
    assert result.counter("dma_buf_vmap", phase="frame") == 0
    for phase in ("import", "frame"):
        assert_nothing_mapped(result, phase)


@pytest.mark.requirement("CPU-1", "CPU-2", "SHR-3")
@pytest.mark.case("m2m_import", "map_control")
@pytest.mark.over(exporter="exporter", importer=reads)
def test_m2m_device_reads_every_byte(
    board, exporter, importer, expect, matrix_cell, mapping_control
):
    """A codec or converter that uses the CPU reads any buffer as it reads its own."""
    expect.sharing(exporter, importer)
    result = board.run("m2m_import", exporter=exporter, importer=importer, side="output")
    matrix_cell(exporter, importer, result.info["outcome"])
    assert_one_range(result)
    mapping_control()


@pytest.mark.requirement("CPU-2")
@pytest.mark.case("m2m_import")
@pytest.mark.over(exporter="udmabuf exporter", importer=reads)
def test_m2m_device_reads_huge_pages(board, exporter, importer, expect, request):
    """A udmabuf of huge pages is one range of addresses too, and not one page again and again."""
    huge = replace(exporter, id=f"{exporter.id}-huge", address="udmabuf:huge")
    with expect.wrong_vmap_of_huge_pages(request, importer=importer):
        board.run("m2m_import", exporter=huge, importer=importer, side="output")


@pytest.mark.requirement("CPU-1", "CPU-2", "SHR-3")
@pytest.mark.case("m2m_import", "map_control")
@pytest.mark.over(exporter="exporter", importer="m2m importer cpu_only")
def test_m2m_device_writes_every_byte(
    board, exporter, importer, expect, matrix_cell, mapping_control
):
    """A codec or converter that uses the CPU writes any buffer as it writes its own."""
    expect.sharing(exporter, importer)
    result = board.run("m2m_import", exporter=exporter, importer=importer, side="capture")
    matrix_cell(exporter, importer, result.info["outcome"])
    assert_one_range(result)
    mapping_control()


@pytest.mark.requirement("CPU-3")
@pytest.mark.case("sync_flags")
@pytest.mark.over(exporter="exporter")
def test_sync_refuses_flags_that_mean_nothing(board, exporter):
    """Flags without an access or with unknown bits are EINVAL, so that bits can get a meaning."""
    board.run("sync_flags", exporter=exporter)


@pytest.mark.requirement("CPU-3")
@pytest.mark.case("sync_end_first")
@pytest.mark.over(exporter="udmabuf exporter")
def test_end_without_start_is_refused(board, exporter):
    """udmabuf maps for the CPU at the first START; an END before it has nothing to give back."""
    board.run("sync_end_first", exporter=exporter, errno="EINVAL")


@pytest.mark.requirement("CPU-7")
@pytest.mark.case("seek_size")
@pytest.mark.over(exporter="exporter")
@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_size_is_found_by_seeking(board, exporter, size):
    """lseek to the end is how a program that was handed a dma-buf learns its size."""
    board.run("seek_size", exporter=exporter, size=size)
