"""Codecs: what goes in comes out, through buffers that encoder, decoder and others share."""

import pytest

from farm.pytest_plugin.api import CaseFailed, control

SIZES = {"YU12": (640, 368), "NV12": (640, 368), "GREY": (640, 360), "XR24": (640, 360)}
"""The smallest size of each raw format that FWHT takes: 8x8 blocks of every component."""


@pytest.mark.requirement("COD-1")
@pytest.mark.case("codec_roundtrip", "map_control")
@pytest.mark.over(codec="codec")
@pytest.mark.parametrize(
    ("format", "content"),
    [
        *((name, "blocks") for name in SIZES),
        ("YU12", "scene"),
        ("NV12", "scene"),
        ("XR24", "scene"),
        ("YU12", "noise"),
        ("NV12", "noise"),
    ],
)
def test_what_was_encoded_is_decoded(
    board, codec, format, content, stream_of, imported_once, expect, request
):
    """Content that the codec keeps comes back as it was, anything else as good as is declared."""
    stream = stream_of(codec, format, content)
    stored = (format, content) == ("NV12", "noise")
    width, height = SIZES[format]
    result = board.run(
        "codec_roundtrip",
        **{**stream, "quality": "none"},
        raw=stream["exporter"],
        width=width,
        height=height,
        frames=2,
    )
    imported_once(result, codec)
    frames, equal = int(result.info["frames"]), int(result.info["equal"])
    coded, raw = int(result.info["coded_bytes"]), int(result.info["raw_bytes"])
    if content != "noise":
        control(coded < raw, f"a frame of {raw} bytes came to {coded}: nothing was encoded")
    plane = "luma" if result.info.get("first_changed") == "0" else "chroma"
    with expect.known(request, "stored_without_step", codec.driver, "chroma", when=stored):
        if stream["quality"] == "exact":
            assert equal == frames, (
                f"{frames - equal} of {frames} frames came back changed, first in {plane}"
            )
        elif equal < frames:
            psnr = result.value("psnr", phase="frames")
            assert psnr >= codec.psnr_db, (
                f"{psnr:.1f} dB, at least {codec.psnr_db} are declared; first changed in {plane}"
            )


@pytest.mark.requirement("COD-1")
@pytest.mark.case("source_change")
@pytest.mark.over(codec="codec")
def test_decoder_follows_the_stream(board, codec, stream_of):
    """A stream that changes its size tells so by an event; a drained decoder says that it is."""
    board.run("source_change", **stream_of(codec))


@pytest.mark.requirement("COD-1")
@pytest.mark.case("decoder_resumes")
@pytest.mark.over(codec="codec")
def test_drained_decoder_goes_on(board, codec, stream_of, expect, request):
    """V4L2_DEC_CMD_START after a drain goes on with the stream, without stopping a queue."""
    result = board.run("decoder_resumes", **stream_of(codec), check=False)
    if result.outcome == "skip":
        pytest.skip(result.reason)
    control(result.info.get("drained"), result.reason)
    with expect.known(request, "ends_with_the_drain", codec.driver, "EPIPE"):
        if result.outcome != "pass":
            raise CaseFailed(result.reason, result)
