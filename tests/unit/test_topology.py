"""Topology: the script runs on this machine's shell, and its output is read strictly."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.board.topology import discover, parse
from farm.errors import ProtocolError

OUTPUT = """\
group\t0/type\tDMA
group\t0/device\t0000:00:01.0
group\t10/type\tidentity
group\t2/type\tDMA
device\t0000:00:01.0/driver\tcirrus
device\t0000:00:01.0/coherent\tyes
device\t0000:00:01.0/iommu\tsmmu3.0x9050000
node\tdrm/card10/driver\tcirrus
node\tdrm/card2/pci\t0000:00:01.0
node\tv4l2/video0/name\tvivid-000-vid-cap
heap\tsystem\tyes
udmabuf\tdevice\tyes
memory\tCmaTotal\t65536
cma\treserved\t16384
board\tkernel\t6.12.107-arm64
board\tmodel\tlinux,dummy-virt\x00
unloaded\tdriver/my-codec\tno such device; the kernel says: my_codec: no
done
"""


def test_reading() -> None:
    found = parse(OUTPUT)
    assert [group["id"] for group in found["iommu_groups"]] == ["0", "2", "10"]
    assert found["iommu_groups"][0] == {"id": "0", "type": "DMA", "devices": ["0000:00:01.0"]}
    assert found["devices"]["0000:00:01.0"]["driver"] == "cirrus"
    assert [node["node"] for node in found["drm"]] == ["card2", "card10"]
    assert found["v4l2"] == [{"node": "video0", "name": "vivid-000-vid-cap"}]
    assert found["heaps"] == ["system"]
    assert found["memory_kib"] == {"CmaTotal": "65536"}
    assert found["board"]["model"] == "linux,dummy-virt"
    assert found["cma"] == {"reserved": "16384"}
    assert {"max_segment_size", "dma_mask_bits", "coherent"} == set(found["absent"])
    assert "CmaTotal" in parse("done")["absent"]["cma"]
    assert found["unloaded"] == [
        {
            "kind": "driver",
            "module": "my-codec",
            "reason": "no such device; the kernel says: my_codec: no",
        }
    ]


@pytest.mark.parametrize(
    "output", ["", "done", "group\n", OUTPUT[:-5], "x\ty\tz\ndone\n", "node\tdrm/a\tb\ndone\n"]
)
def test_what_is_no_topology(output: str) -> None:
    if output == "done":
        assert parse(output)["iommu_groups"] == []
    else:
        with pytest.raises(ProtocolError):
            parse(output)


@given(st.text(max_size=200))
def test_only_its_own_error(text: str) -> None:
    with contextlib.suppress(ProtocolError):
        parse(text + "\ndone\n")


def test_the_script_runs_in_a_posix_shell() -> None:
    def shell(text: str) -> str:
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    found = discover(shell)
    assert found["board"]["kernel"]
    assert int(found["memory_kib"]["MemTotal"]) > 0
