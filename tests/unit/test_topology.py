"""Topology: the payload looks at this machine, and what it says is read strictly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_board import ProcessTransport

from farm.board.channel import PayloadChannel
from farm.board.payload import build
from farm.board.topology import MAX_TOLD, parse
from farm.errors import ProtocolError

RECORDS = """\
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
board\tmodel\tlinux,dummy-virt
unloaded\tdriver/my-codec\tno such device; the kernel says: my_codec: no
""".splitlines()


def test_reading() -> None:
    found = parse(RECORDS)
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
    assert "CmaTotal" in parse([])["absent"]["cma"]
    assert found["unloaded"] == [
        {
            "kind": "driver",
            "module": "my-codec",
            "reason": "no such device; the kernel says: my_codec: no",
        }
    ]


@pytest.mark.parametrize("record", ["", "group", "group\t", "x\ty\tz", "node\tdrm/a\tb"])
def test_what_is_no_topology(record: str) -> None:
    with pytest.raises(ProtocolError, match="has a record"):
        parse([*RECORDS, record])


def test_a_board_that_tells_without_end() -> None:
    with pytest.raises(ProtocolError, match="limit 1048576"):
        parse(["board\tmodel\t" + "x" * MAX_TOLD])


@given(st.lists(st.text(max_size=200)))
def test_only_its_own_error(records: list[str]) -> None:
    with contextlib.suppress(ProtocolError):
        parse(records)


def test_the_payload_looks_at_this_machine() -> None:
    transport = ProcessTransport([str(build("host").path), "serve"])
    channel = PayloadChannel(transport)
    channel.start(10.0)
    found = parse(channel.topology(10.0))
    channel.close()
    assert found["board"]["kernel"] and found["board"]["boot_id"]
    assert int(found["memory_kib"]["MemTotal"]) > 0
