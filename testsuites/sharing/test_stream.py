"""Sharing in a stream: when a video device maps its buffers, and that they may come and go."""

import pytest

BUFFERS = 3


@pytest.mark.requirement("SHR-4")
@pytest.mark.case("prepare_maps", "map_control")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_prepared_buffers_are_mapped_before_the_stream(board, exporter, importer, expect, taken):
    """PREPARE_BUF takes each buffer once; from STREAMON to STREAMOFF nothing more is taken."""
    expect.streaming(exporter, importer)
    result = board.run(
        "prepare_maps", exporter=exporter, importer=importer, memory="dmabuf", buffers=BUFFERS
    )
    assert taken(result, importer, "prepare").got == BUFFERS
    stream = taken(result, importer, "stream")
    assert (stream.got, stream.let_go) == (0, 0)
    assert taken(result, importer, "free").let_go == BUFFERS


@pytest.mark.requirement("SHR-4")
@pytest.mark.case("prepare_maps", "map_control")
@pytest.mark.over(importer="v4l2 importer")
def test_own_buffers_are_never_mapped(board, importer, taken, taking_control):
    """A device's own buffers (MMAP) are there from REQBUFS on: preparing them takes nothing."""
    result = board.run("prepare_maps", importer=importer, memory="mmap", buffers=BUFFERS)
    for phase in ("prepare", "stream"):
        assert taken(result, importer, phase).got == 0
    taking_control(importer)


@pytest.mark.requirement("SHR-7")
@pytest.mark.case("buffers_come_and_go", "map_control")
@pytest.mark.over(exporter="plain exporter", importer="v4l2 importer")
def test_buffers_come_and_go_while_streaming(board, exporter, importer, expect, taken):
    """Buffers that join a running stream are taken once, and let go when they are removed."""
    expect.streaming(exporter, importer)
    result = board.run(
        "buffers_come_and_go",
        exporter=exporter,
        importer=importer,
        claimed=expect.behaves("removes_buffers", importer.driver),
    )
    rounds = taken(result, importer, "rounds")
    added = int(result.info["added"])
    assert (rounds.got, rounds.let_go) == (added, added)
