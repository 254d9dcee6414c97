"""Codecs over time: what a frame costs at each size and depth, and that churn leaves nothing."""

import pytest

SIZES = {
    "240p": (432, 240),
    "360p": (640, 368),
    "480p": (864, 480),
    "720p": (1280, 720),
    "1080p": (1920, 1088),
}
"""Multiples of 16, as 4:2:0 in blocks of 8x8 needs them."""

QUICK = {("240p", 2), ("360p", 2), ("360p", 4), ("360p", 8), ("720p", 2), ("1080p", 2)}
"""Points that tell the growth with depth and with size; the others are marked ``full``."""

POINTS = [
    pytest.param(size, depth, marks=() if (size, depth) in QUICK else pytest.mark.full)
    for size in SIZES
    for depth in (2, 4, 8)
]


@pytest.mark.requirement("COD-4")
@pytest.mark.case("codec_rate")
@pytest.mark.over(codec="codec")
@pytest.mark.parametrize(("size", "depth"), POINTS)
def test_rate_and_cost_of_frames(board, codec, size, depth):
    """Frames a second and processor time a frame, of an encoder and a decoder that work at once."""
    width, height = SIZES[size]
    result = board.run(
        "codec_rate",
        codec=codec,
        coded=codec.coded,
        width=width,
        height=height,
        depth=depth,
        timeout_s=120,
    )
    assert result.counter("dma_map_sg", phase="steady") == 0
    assert result.value("frame_rate", phase="steady") > 0


@pytest.mark.requirement("COD-3")
@pytest.mark.case("codec_churn")
@pytest.mark.over(codec="codec")
def test_churn_leaves_nothing(board, codec, stress):
    """Restarts and changes of size and buffers, by seed: frames are right, no buffer is left."""
    result = board.run("codec_churn", codec=codec, coded=codec.coded, **stress.arguments)
    assert int(result.info["operations"]) > 0
    assert result.counter("dma_map_sg", phase="stress") == result.counter(
        "dma_unmap_sg", phase="stress"
    )
