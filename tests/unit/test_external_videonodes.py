"""Whose buffers v4l2-compliance imports: any node's that exports, or a reason why there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.external.results import MAX_REASON
from farm.external.videonodes import Node, exporter_for, parse_nodes
from farm.model import Device, DeviceKind

LISTED = """\
mxc-isi-cap (platform:32e00000.isi:cap_devic):
\t/dev/video0
\t/dev/media0

VPU (platform:hantro-vpu):
\t/dev/video1
\t/dev/video2

USB camera (usb-0000:00:14.0-1):
\t/dev/video3
\t/dev/video4
"""
NAMES = {
    "video0": "mxc_isi.0.capture",
    "video1": "dec",
    "video3": "UVC Camera",
    "video4": "\x1bmeta",
}
CAMERA, DECODER, WEBCAM, WEBCAM_DATA = parse_nodes(LISTED, NAMES)
NODES = [CAMERA, DECODER, WEBCAM, WEBCAM_DATA]
ALL = {"video0": "capture 0", "video1": "m2m 0", "video3": "capture 0"}


def declared(bus: str, kind: str = DeviceKind.V4L2, *, contiguous: bool = False) -> Device:
    return Device(
        id=f"the-{bus[:6]}",
        kind=DeviceKind(kind),
        driver="x",
        address=f"{kind}:{bus}",
        exports=False,
        imports=True,
        contiguous=contiguous,
    )


ISI = declared("32e00000.isi:cap_devic", contiguous=True)
VPU = declared("hantro-vpu", "m2m", contiguous=True)


def test_nodes_have_their_path_name_and_bus() -> None:
    assert [
        Node("/dev/video0", "mxc_isi.0.capture", "32e00000.isi:cap_devic"),
        Node("/dev/video1", "dec", "hantro-vpu"),
        Node("/dev/video3", "UVC-Camera", "usb-0000:00:14.0-1"),
        Node("/dev/video4", "meta", "usb-0000:00:14.0-1"),
    ] == NODES
    assert [node.belongs_to(ISI) for node in NODES] == [True, False, False, False]
    assert not DECODER.belongs_to(VPU)  # a codec is no device of kind v4l2


@pytest.mark.parametrize(
    ("node", "device", "devices", "told", "path"),
    [
        (WEBCAM, None, [], {"video0": "capture 0"}, "/dev/video0"),  # whatever it is called
        (WEBCAM, None, [], ALL, "/dev/video0"),  # a capture node before a codec's
        (WEBCAM, None, [VPU], ALL, "/dev/video1"),  # contiguous memory before any other
        (CAMERA, ISI, [ISI, VPU], ALL, "/dev/video1"),  # all that it can reach
        (WEBCAM, None, [], ALL | {"video0": "capture EBUSY"}, "/dev/video1"),
        (WEBCAM, None, [], {"video0": "output 0"}, "/dev/video0"),  # better than none
    ],
)
def test_what_exports_and_can_be_reached_is_taken(
    node: Node, device: Device | None, devices: list[Device], told: dict[str, str], path: str
) -> None:
    found = exporter_for(node, device, NODES, devices, told)
    assert (found.path, found.lacking) == (path, "")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, "the board has no other node with frames"),
        ({"video0": "capture 0"}, "the board has no other node with frames"),  # itself
        ({"video1": "m2m ENOTTY"}, "/dev/video1 exports nothing: ENOTTY"),
        ({"video3": "capture 0"}, "/dev/video3 has memory of many pieces, the-32e000 takes one"),
        ({"video9": "capture 0"}, "the board has no other node with frames"),  # v4l2-ctl lists none
        ({"video3": "capture"}, "/dev/video3 exports nothing: "),
    ],
)
def test_without_an_exporter_there_is_a_reason(told: dict[str, str], why: str) -> None:
    found = exporter_for(CAMERA, ISI, NODES, [ISI], told)
    assert (found.path, found.lacking) == ("", f"no exporter for /dev/video0: {why}".strip())


@given(st.dictionaries(st.sampled_from(sorted(ALL)), st.text(max_size=80)))
def test_whatever_a_board_tells_there_is_an_exporter_or_a_reason(told: dict[str, str]) -> None:
    found = exporter_for(CAMERA, ISI, NODES, [ISI, VPU], told)
    assert bool(found.path) != bool(found.lacking)
    assert found.path in ("", "/dev/video1") and len(found.lacking) <= MAX_REASON
    assert found.lacking.isprintable()
