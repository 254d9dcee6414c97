"""Pipelines: camera, GPU, codec and display hand buffers on, and nobody copies or maps a frame."""

import pytest

from farm.pytest_plugin.api import Device, control

SHOWN = "XR24"
"""The format that camera, codec and display of the pipeline have in common."""


@pytest.mark.requirement("COD-2")
@pytest.mark.case("pipeline", "map_control")
@pytest.mark.over(camera="v4l2 importer", codec="codec", display="drm importer crc")
def test_camera_to_display_maps_nothing_per_frame(
    board, camera, codec, display, expect, memory_for, codec_maps, mapping_control
):
    """Camera, encoder, decoder and display share each frame's buffers, and map them once only."""
    if SHOWN not in codec.formats:
        pytest.skip(f"{codec.id} does not code {SHOWN}, which the display shows without a GPU")
    raw, out = memory_for(camera, codec), memory_for(codec, display)
    result = board.run(
        "pipeline",
        camera=camera,
        codec=codec,
        coded=codec.coded,
        display=display,
        raw=raw,
        out=out,
        quality=f"{codec.psnr_db:g}",
    )
    mapped = (
        int(result.info["raw_buffers"]) * expect.of_import(raw, camera).maps
        + int(result.info["decoded_buffers"]) * expect.of_import(out, display).maps
        + codec_maps(result, codec, raw, out)
    )
    assert result.counter("dma_map_sg", phase="first") == mapped
    for counter in ("dma_buf_attach", "dma_map_sg", "dma_unmap_sg"):
        assert result.counter(counter, phase="steady") == 0, (
            f"{counter} of frames in a steady state"
        )
    pictures = int(result.info["pictures"])
    control(pictures > 1 or camera.driver != "vivid", "vivid's picture moves, and one was shown")
    mapping_control()


@pytest.mark.requirement("COD-3")
@pytest.mark.case("pipeline_churn", "map_control")
@pytest.mark.over(camera="v4l2 importer", codec="codec", display="drm importer crc")
def test_pipeline_survives_churn(
    board, camera, codec, display, memory_for, mapping_control, stress
):
    """Camera and codecs are restarted, drained, resized, given other buffers; none is left."""
    if SHOWN not in codec.formats:
        pytest.skip(f"{codec.id} does not code {SHOWN}, which the display shows without a GPU")
    result = board.run(
        "pipeline_churn",
        camera=camera,
        codec=codec,
        coded=codec.coded,
        display=display,
        raw=memory_for(camera, codec),
        out=memory_for(codec, display),
        quality=f"{codec.psnr_db:g}",
        **stress.arguments,
    )
    resized = int(result.info["resized"])
    control(resized or camera.driver != "vivid", "vivid has many sizes, and one was used")
    total = 0.0
    for got, gone in (("dma_buf_vmap", "dma_buf_vunmap"), ("dma_map_sg", "dma_unmap_sg")):
        taken, let_go = (result.counter(name, phase="stress") for name in (got, gone))
        assert taken == let_go, f"{let_go:.0f} {gone} of {taken:.0f} {got}"
        total += taken
    control(total, "neither camera nor codec nor display took a buffer")
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
@pytest.mark.case("codec_roundtrip", "map_control")
@pytest.mark.over(gpu="drm exporter", codec="codec")
def test_rendering_is_encoded_from_its_buffer(
    board, gpu, codec, expect, stream_of, codec_maps, mapping_control
):
    """An encoder reads the GPU's own buffer: what the decoder makes of it is what was drawn."""
    expected = expect.sharing(gpu, codec)
    stream = stream_of(codec, SHOWN if SHOWN in codec.formats else "")
    result = board.run("codec_roundtrip", **stream, raw=gpu, frames=1)
    mapped = codec_maps(result, codec, gpu, stream["exporter"])
    assert result.counter("dma_map_sg", phase="first") == mapped, expected.reason
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
