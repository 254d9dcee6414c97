"""Pipelines: camera, GPU, codec and display hand buffers on, and nobody copies or maps a frame."""

import pytest

from farm.pytest_plugin.api import Device
from farm.pytest_plugin.expectations import Outcome


def memory_for(board, expect, importer: Device) -> Device:
    """Return an exporter of plain memory, each buffer of which the importer takes."""
    for device in board.devices:
        plain = device.exports and device.kind in ("udmabuf", "heap", "v4l2")
        if plain and expect.of_import(device, importer).outcome is Outcome.SHARED:
            return device
    pytest.skip(f"no memory of {board.type.name} is sure to suit {importer.id}")


@pytest.mark.requirement("COD-2")
@pytest.mark.case("pipeline", "map_control")
@pytest.mark.over(camera="v4l2 importer", codec="codec", display="drm importer crc")
def test_camera_to_display_maps_nothing_per_frame(
    board, camera, codec, display, expect, mapping_control
):
    """Camera, encoder, decoder and display share each frame's buffers, and map them once only."""
    memory = memory_for(board, expect, camera)
    out = memory_for(board, expect, display)
    result = board.run(
        "pipeline",
        camera=camera,
        codec=codec,
        coded=codec.coded,
        display=display,
        raw=memory,
        coded_in=out,
        out=out,
    )
    buffers = int(result.info["buffers"])
    mapped = expect.of_import(memory, camera).maps + expect.of_import(out, display).maps
    assert result.counter("dma_map_sg", phase="first") == buffers * mapped
    for counter in ("dma_buf_attach", "dma_map_sg", "dma_unmap_sg"):
        assert result.counter(counter, phase="steady") == 0, (
            f"{counter} of frames in a steady state"
        )
    if result.info["equal"] != "yes":
        psnr = result.value("psnr", phase="frames")
        assert psnr >= codec.psnr_db, f"{psnr:.1f} dB, at least {codec.psnr_db} are declared"
    mapping_control()


@pytest.mark.requirement("COD-5")
@pytest.mark.case("render_shown", "map_control")
@pytest.mark.over(gpu="drm exporter", display="drm importer crc")
def test_rendering_is_shown_from_its_buffer(board, gpu, display, expect, mapping_control):
    """A display scans out the GPU's own buffer: its CRC is that of the same picture of its own."""
    expected = expect.sharing(gpu, display)
    result = board.run("render_shown", gpu=gpu, display=display)
    if gpu != display:
        assert result.counter("dma_buf_attach", phase="first") == expected.attaches
        assert result.counter("dma_map_sg", phase="first") == expected.maps, expected.reason
    for counter in ("dma_buf_attach", "dma_map_sg"):
        assert result.counter(counter, phase="steady") == 0, counter
    mapping_control()


@pytest.mark.requirement("COD-5")
@pytest.mark.case("render_coded", "map_control")
@pytest.mark.over(gpu="drm exporter", codec="codec")
def test_rendering_is_encoded_from_its_buffer(board, gpu, codec, expect, mapping_control):
    """An encoder reads the GPU's own buffer: what the decoder makes of it is what was drawn."""
    expected = expect.sharing(gpu, codec)
    result = board.run("render_coded", gpu=gpu, codec=codec, coded=codec.coded)
    assert result.counter("dma_map_sg", phase="first") == expected.maps, expected.reason
    for counter in ("dma_buf_attach", "dma_map_sg"):
        assert result.counter(counter, phase="steady") == 0, counter
    mapping_control()


def fenced(device: Device) -> bool:
    """A GPU whose buffers user space can fence by itself."""
    return device.driver == "vgem"


@pytest.mark.requirement("COD-5")
@pytest.mark.case("render_fenced")
@pytest.mark.over(gpu=fenced, display="drm importer crc")
def test_display_waits_for_the_rendering(board, gpu, display, expect):
    """A flip to a buffer whose writer has not finished waits for the fence of the writer."""
    expect.sharing(gpu, display)
    board.run("render_fenced", gpu=gpu, display=display)
