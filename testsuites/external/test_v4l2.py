"""v4l2-compliance on every node of every video device, with streaming and DMABUF import."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from farm.external import v4l2compliance
from farm.external.judging import Judged
from farm.external.results import Output, clean
from farm.pytest_plugin.api import Bundle, Device, Programs, TestBroken

PROGRAM = "v4l2-compliance"
QUIET = ("--no-progress", "--color", "never")
FRAMES = 5
"""Frames of each streaming test: there are a dozen of these per node, at 25 frames a second."""
LIMIT_S = 180.0
SMALL, LARGE = "--set-fmt-video=width=640,height=360", "--set-fmt-video=width=1280,height=720"
"""Formats of an importer and of an exporter that is no output; a node keeps what it was given.

The exporter's buffers must hold the importer's frames: v4l2-test-buffers.cpp, setupDmaBuf().
"""
_HEADING = re.compile(r"\S.*\(([^()]+)\):")
_NODES = 'for n in /sys/class/video4linux/*; do read -r t < $n/name; echo "${n##*/} $t"; done'


class Node(NamedTuple):
    """A V4L2 device node: its path, its driver's name for it, and what QUERYCAP calls its bus."""

    path: str
    name: str
    bus: str

    def belongs_to(self, device: Device) -> bool:
        """Return whether a declared device has this node."""
        return device.kind == "v4l2" and device.address == f"v4l2:{self.bus}"


def nodes_on(programs: Programs, bundle: Bundle) -> list[Node]:
    """Return every V4L2 node of the board."""
    listed = programs.run(bundle, "v4l2-ctl", ["--list-devices"], timeout_s=30)
    named = programs.run(None, "sh", ["-c", _NODES], timeout_s=30)
    if named.status != 0:
        raise TestBroken(f"the board's video nodes cannot be listed: {clean(named.stderr, 200)}")
    names = dict(line.split(" ", 1) for line in named.stdout.splitlines() if " " in line)
    found, bus = [], ""
    for line in listed.stdout.splitlines():
        if match := _HEADING.fullmatch(line.strip()):
            bus = match[1].removeprefix("platform:")
        elif (node := line.strip().removeprefix("/dev/")) in names:
            found.append(Node(f"/dev/{node}", clean(names[node], 60).replace(" ", "-"), bus))
    return found


FRAMES_OF = re.compile(r"-vid-(cap|out)$|-source$")
NO_FRAMES = re.compile(r"meta|touch|stat", re.IGNORECASE)
"""In the name of a node: it has frames; it has metadata, a touch pad's or an ISP's statistics."""


def exporter_for(node: Node, device: Device | None, nodes: list[Node], programs: Programs) -> str:
    """Return the node whose buffers are to be imported: memory that the importer can reach.

    That is a node of a device with contiguous memory, if there is one, else of any; never the
    importer itself, whose queue is busy. Radio, VBI and the like import nothing. What a node's name
    says of its frames counts where it says so (vivid, vicodec); hardware's nodes say nothing.
    """
    if not node.path.startswith("/dev/video"):
        return ""
    candidates = [
        (
            one.contiguous,
            bool(FRAMES_OF.search(other.name)),
            other.name.endswith("-cap"),
            other.path,
        )
        for one in programs.devices
        for other in nodes
        if one.exports and other.belongs_to(one) and other != node
        if other.path.startswith("/dev/video") and not NO_FRAMES.search(other.name)
        if one.contiguous or device is None or not device.contiguous
    ]
    return max(candidates)[-1] if candidates else ""


def check(external, programs, bundle, nodes, device) -> None:
    """Run v4l2-compliance on the nodes of one device, or on those that belong to none."""
    mine = [
        node
        for node in nodes
        if (
            node.belongs_to(device)
            if device is not None
            else not any(map(node.belongs_to, programs.devices))
        )
    ]
    if device is None and not mine:
        pytest.skip(f"each of the board's {len(nodes)} video nodes belongs to a declared device")
    assert mine, f"{device.id} is declared, and no node of the board says it is {device.address}"
    found: list[Judged] = []
    for node in mine:
        words = [PROGRAM, "--device", node.path, f"--streaming={FRAMES}", *QUIET]
        source = exporter_for(node, device, nodes, programs)
        if source:
            words.append(f"--expbuf-device={source}")
            for path, form in ((node.path, SMALL), (source, LARGE)):
                programs.run(bundle, "v4l2-ctl", ["--device", path, form], timeout_s=30)

        def parse(out: str, err: str, status: int) -> Output:
            return v4l2compliance.parse(out, status)

        found.append(
            external.run(
                f"{PROGRAM}:{node.name}", bundle, words, parse,
                timeout_s=LIMIT_S, prefix=f"{node.name}@",
            )
        )  # fmt: skip
    external.settle(found)


@pytest.mark.over(device="v4l2")
def test_v4l2_compliance(external, programs: Programs, v4l_utils: Bundle, device: Device) -> None:
    """Every node of a declared device."""
    check(external, programs, v4l_utils, nodes_on(programs, v4l_utils), device)


def test_v4l2_compliance_of_undeclared(external, programs: Programs, v4l_utils: Bundle) -> None:
    """Every other node of the board; and the lists name no node that it does not have."""
    nodes = nodes_on(programs, v4l_utils)
    known = {f"{PROGRAM}:{node.name}" for node in nodes}
    for entry in external.lists.entries:
        program = entry.name.partition("@")[0]
        if entry.status and program.startswith(f"{PROGRAM}:") and program not in known:
            raise TestBroken(f"{entry.where}: the board has no video node for {program}")
    if not nodes:
        pytest.skip("the board has no video node")
    check(external, programs, v4l_utils, nodes, None)
