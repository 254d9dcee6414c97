"""v4l2-compliance on every node of every video device, with streaming and DMABUF import."""

from __future__ import annotations

import pytest

from farm.external import v4l2compliance
from farm.external.judging import Judged
from farm.external.results import Output, clean
from farm.external.videonodes import IMPORTERS, NO_EXPORTER, Node, exporter_for, parse_nodes
from farm.pytest_plugin.api import Board, Bundle, Device, Programs, SubCase, TestBroken, Verdict

PROGRAM = "v4l2-compliance"
QUIET = ("--no-progress", "--color", "never")
FRAMES = 5
"""Frames of each streaming test: there are a dozen of these per node, at 25 frames a second."""
LIMIT_S = 180.0
SMALL, LARGE = "--set-fmt-video=width=640,height=360", "--set-fmt-video=width=1280,height=720"
"""Formats of an importer and of an exporter that is no output; a node keeps what it was given.

The exporter's buffers must hold the importer's frames: v4l2-test-buffers.cpp, setupDmaBuf().
"""
_NODES = 'for n in /sys/class/video4linux/*; do read -r t < $n/name; echo "${n##*/} $t"; done'


def nodes_on(programs: Programs, bundle: Bundle) -> list[Node]:
    """Return every V4L2 node of the board."""
    listed = programs.run(bundle, "v4l2-ctl", ["--list-devices"], timeout_s=30)
    named = programs.run(None, "sh", ["-c", _NODES], timeout_s=30)
    if named.status != 0:
        raise TestBroken(f"the board's video nodes cannot be listed: {clean(named.stderr, 200)}")
    names = dict(line.split(" ", 1) for line in named.stdout.splitlines() if " " in line)
    return parse_nodes(listed.stdout, names)


def check(external, board: Board, bundle: Bundle, nodes: list[Node], device: Device | None) -> None:
    """Run v4l2-compliance on the nodes of one device, or on those that belong to none."""
    programs: Programs = external.programs
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
    told = board.run("video_exporters").info
    found: list[Judged] = []
    for node in mine:
        words = [PROGRAM, "--device", node.path, f"--streaming={FRAMES}", *QUIET]
        if node.path.startswith(IMPORTERS):
            source = exporter_for(node, device, nodes, programs.devices, told)
            if source.path:
                words.append(f"--expbuf-device={source.path}")
                for path, form in ((node.path, SMALL), (source.path, LARGE)):
                    programs.run(bundle, "v4l2-ctl", ["--device", path, form], timeout_s=30)
            else:
                name = f"{node.name}@{NO_EXPORTER}"
                programs.tell([SubCase(name, Verdict.SKIP, source.lacking, hash=bundle.id)])

        def parse(out: str, err: str, status: int) -> Output:
            return v4l2compliance.parse(out, status)

        found.append(
            external.run(
                f"{PROGRAM}:{node.name}", bundle, words, parse,
                timeout_s=LIMIT_S, prefix=f"{node.name}@",
            )
        )  # fmt: skip
    external.settle(found)


@pytest.mark.case("video_exporters")
@pytest.mark.over(device="v4l2")
def test_v4l2_compliance(external, board: Board, v4l_utils: Bundle, device: Device) -> None:
    """Every node of a declared device."""
    check(external, board, v4l_utils, nodes_on(external.programs, v4l_utils), device)


@pytest.mark.case("video_exporters")
def test_v4l2_compliance_of_undeclared(external, board: Board, v4l_utils: Bundle) -> None:
    """Every other node of the board; and the lists name no node that it does not have."""
    nodes = nodes_on(external.programs, v4l_utils)
    known = {f"{PROGRAM}:{node.name}" for node in nodes}
    for entry in external.lists.entries:
        program = entry.name.partition("@")[0]
        if entry.status and program.startswith(f"{PROGRAM}:") and program not in known:
            raise TestBroken(f"{entry.where}: the board has no video node for {program}")
    if not nodes:
        pytest.skip("the board has no video node")
    check(external, board, v4l_utils, nodes, None)
