"""Map caching in a stream: what it costs to queue the same buffers frame after frame."""

import pytest

BUFFERS, FRAMES, TIMED = 3, 8, 60


def run(board, exporter, importer, order, rounds):
    """Stream frames through a few buffers, queued in that order.

    Frames are counted for every pair, and timed for one kind of memory of each importer: at 50
    frames a second these take more than one. Fewer tell nothing, and are not timed.
    """
    telling = exporter.driver == ("cma_heap" if importer.contiguous else "udmabuf")
    timed = telling and rounds(TIMED) == TIMED
    return board.run(
        "stream_frames",
        exporter=exporter,
        importer=importer,
        order=order,
        buffers=BUFFERS,
        frames=FRAMES,
        timed=TIMED if timed else 0,
    )


@pytest.mark.requirement("MAP-5")
@pytest.mark.case("stream_frames", "map_control")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_frames_at_fixed_indices_cost_a_map_per_buffer(
    board, exporter, importer, expect, taken, rounds
):
    """Each buffer is taken when it is queued first, at its own index, and never again."""
    expect.streaming(exporter, importer)
    result = run(board, exporter, importer, "fixed", rounds)
    assert taken(result, importer, "first").got == BUFFERS
    assert taken(result, importer, "frames").got == 0
    assert taken(result, importer, "free").let_go == BUFFERS


@pytest.mark.requirement("MAP-6")
@pytest.mark.case("stream_frames", "map_control")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_frames_at_moving_indices_cost_a_map_each(board, exporter, importer, expect, taken, rounds):
    """vb2 remembers one buffer per index, so a buffer that moves is taken anew for each frame."""
    expect.streaming(exporter, importer)
    result = run(board, exporter, importer, "rotating", rounds)
    frames = taken(result, importer, "frames")
    # The first buffer that moves goes to an index that has held none, from which none is let go.
    assert (frames.got, frames.let_go) == (FRAMES, FRAMES - 1)
    assert taken(result, importer, "free").let_go == BUFFERS + 1


@pytest.mark.requirement("MAP-7")
@pytest.mark.case("stream_frames", "map_control")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_duplicated_descriptors_cost_no_map(board, exporter, importer, expect, taken, rounds):
    """vb2 compares buffers and not descriptors, so a dup() of one is known at its index."""
    expect.streaming(exporter, importer)
    result = run(board, exporter, importer, "duplicated", rounds)
    assert taken(result, importer, "first").got == BUFFERS
    assert taken(result, importer, "frames").got == 0


@pytest.mark.requirement("MAP-8")
@pytest.mark.case("fd_reused", "map_control")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_reused_descriptor_is_a_new_buffer(board, exporter, importer, expect, taken):
    """A number that another buffer had is no key: the new buffer is taken, and gets the frame."""
    expect.streaming(exporter, importer)
    result = board.run("fd_reused", exporter=exporter, importer=importer)
    assert taken(result, importer, "old").got == 1
    young = taken(result, importer, "young")
    assert (young.got, young.let_go) == (1, 1), "the new buffer taken, the old one let go"
    assert taken(result, importer, "same").got == 0
