"""Codecs over time: what a frame costs at each size and depth, and that churn leaves nothing."""

import pytest

from farm.pytest_plugin.api import control

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

SHORTEST = ("360p", 2)
"""The one point that is not marked ``long``."""

WINDOWS, LEAST_FRAMES = 5, 4
"""How often a point is measured, for 400 ms or so many frames at the least.

Once on exact boards, where one window is as the next, and 30 frames of 1080p took over ten minutes.
"""


def _marks(point: tuple[str, int]) -> list[pytest.MarkDecorator]:
    if point in QUICK:
        return [] if point == SHORTEST else [pytest.mark.long]
    return [pytest.mark.full]


POINTS = [
    pytest.param(size, depth, marks=_marks((size, depth)))
    for size in SIZES
    for depth in (1, 2, 4, 8)
]


@pytest.mark.requirement("COD-4")
@pytest.mark.case("codec_rate", "map_control")
@pytest.mark.over(codec="codec")
@pytest.mark.parametrize(("size", "depth"), POINTS)
def test_rate_and_cost_of_frames(board, codec, size, depth, stream_of, imported_once):
    """Frames a second and processor time a frame, of an encoder and a decoder that work at once."""
    width, height = SIZES[size]
    stream = stream_of(codec)
    windows = 1 if board.type.exact else WINDOWS
    result = board.run(
        "codec_rate",
        **{name: stream[name] for name in ("codec", "coded", "format", "exporter")},
        width=width,
        height=height,
        depth=depth,
        windows=windows,
        least_frames=LEAST_FRAMES,
        timeout_s=120,
    )
    imported_once(result, codec)
    frames = [int(number) for number in result.info["frames"].split()]
    control(len(frames) == windows and min(frames) >= LEAST_FRAMES, f"frames measured: {frames}")
    # Codecs in software, at work at once, have two processors busy for more than the time it takes.
    if codec.cpu_only and depth >= 4 and int(result.info["processors"]) > 1:
        busy = result.value("frame_cpu_time", phase="steady")
        took = 1e9 / result.value("frame_rate", phase="steady")
        control(busy > took, f"{busy:.0f} ns of processors a frame in {took:.0f} ns: one at a time")


MAPS = ("dma_map_sg", "dma_unmap_sg")


@pytest.mark.requirement("COD-3")
@pytest.mark.case("codec_churn")
@pytest.mark.over(codec="codec")
def test_churn_leaves_nothing(board, codec, stream_of, stress):
    """Restarts and changes of size and buffers, by seed: frames are right, no buffer is left."""
    result = board.run("codec_churn", **stream_of(codec), **stress.arguments)
    got, gone = ("dma_buf_vmap", "dma_buf_vunmap") if codec.cpu_only else MAPS
    taken = result.counter(got, phase="stress")
    control(taken, f"{codec.id} took no buffer ({got}), so it can keep none")
    assert result.counter(gone, phase="stress") == taken, f"{gone} of {taken:.0f} {got}"
