"""Constraints: what limits a device and an exporter have, as told by sysfs or found by trial."""

import pytest

from farm.pytest_plugin.api import Device, NoExpectation, control
from farm.pytest_plugin.undeclared import undeclared

KIB, MIB = 1 << 10, 1 << 20
PAGE = 4 * KIB

DEFAULT_SEGMENT = 64 * KIB
"""dma_get_max_seg_size() of a device whose driver sets none (include/linux/dma-mapping.h)."""


def max_segment(device: Device, size: int) -> int:
    """Bytes that a device takes in one segment, as far as a buffer of ``size`` bytes can tell.

    refdev says U32_MAX (testsuites/refdev/driver.c), virtio-gpu's transport what its device can
    map at once (drivers/gpu/drm/virtio/virtgpu_kms.c), and who imports by videobuf2-dma-contig has
    to say 32 bits (vb2_dma_contig_set_max_seg_size()); cirrus and bochs say nothing.
    """
    return min(DEFAULT_SEGMENT, size) if device.driver in ("cirrus", "bochs-drm") else size


@pytest.mark.requirement("CON-2", "CON-7")
@pytest.mark.case("dma_segments")
@pytest.mark.over(exporter="udmabuf exporter", importer="importer iommu")
def test_iommu_makes_scattered_memory_contiguous(board, exporter, importer, expect):
    """The buffer that a contiguous-only device refuses is one range for who has an IOMMU."""
    # What comes out of the DMA API also tells the longest segment that the device takes, which
    # sysfs does not: its segments are joined up to that.
    expected = expect.of_import(exporter, importer)
    if not expected.maps:
        pytest.skip(f"{importer.id} maps nothing when it imports on Linux {board.kernel}")
    pair = {"exporter": exporter, "importer": importer, "size": MIB}
    refuser = next((one for one in board.devices if one.contiguous and not one.iommu), "none")
    try:
        result = board.run("dma_segments", **pair, refuser=refuser)
    except pytest.skip.Exception:  # the refuser's input has no signal
        result = board.run("dma_segments", **pair, refuser="none")
    info = result.info
    assert info["outcome"] == (expected.errno or "0"), expected.reason
    runs, size = result.counter("iommu_map", phase="import"), int(info["size"])
    longest = max_segment(importer, size)
    control(runs == size // PAGE, f"{size} bytes were mapped in {runs:.0f} runs: not scattered")
    assert int(info["segments"]) == -(-size // longest), f"segments of {size} bytes"
    assert int(info["largest"]) == longest, "bytes of the longest segment"
    assert info["contiguous"] == "yes", "the segments have gaps in IOVA"
    assert int(info["bytes"]) == size
    if importer.dma_mask_bits:
        assert (int(info["address"]) + size - 1) >> importer.dma_mask_bits == 0, "out of reach"


@pytest.mark.requirement("CON-5")
@pytest.mark.case("udmabuf_limits")
@pytest.mark.over(exporter="udmabuf exporter")
def test_udmabuf_keeps_its_limits(board, exporter):
    """A buffer of the limit works, a page more is EINVAL; so with the entries of a list."""
    result = board.run("udmabuf_limits")
    limits = board.topology["udmabuf"]
    for name in ("size_limit_mb", "list_limit"):
        assert result.info[name] == limits.get(name, "0"), f"{name} of module udmabuf"


@pytest.mark.requirement("CON-5")
@pytest.mark.case("heap_limits")
@pytest.mark.over(exporter="heap exporter")
def test_heap_keeps_its_limits(board, exporter):
    """Nothing is EINVAL, and more than all contiguous memory there is ENOMEM."""
    # The system heap has no limit: asked for more than the board's memory it allocates until the
    # OOM killer comes (drivers/dma-buf/heaps/system_heap.c, seen on Linux 6.12).
    most = 0
    if exporter.driver == "cma_heap":
        most = int(board.topology["memory_kib"]["CmaTotal"]) * KIB
        control(most, "CmaTotal is 0, so every buffer is too large")
    board.run("heap_limits", heap=exporter, limit=most)


def bus_device(board, device: Device) -> dict[str, str]:
    """What sysfs says of the device behind a declared one's node."""
    node = board.run("iommu_of", device=device).info["node"]
    known = board.topology["devices"]
    above = [name for name in reversed(node.split("/")) if name in known]
    control(above, f"the topology has no device above {node}")
    return known[above[0]]


def on_a_bus(device: Device) -> bool:
    """A device that does DMA, or might: what has a node and a device behind it."""
    return device.imports and device.kind in ("drm", "v4l2", "refdev")


@pytest.mark.requirement("CON-7")
@pytest.mark.case("iommu_of")
@pytest.mark.over(device=on_a_bus)
def test_constraints_of_a_device_are_reported(board, device):
    """DMA mask and coherence are in the topology, or the reason why they cannot be."""
    found, absent = bus_device(board, device), board.topology["absent"]
    for name in ("dma_mask_bits", "coherent", "max_segment_size"):
        assert name in found or absent[name], f"neither {name} nor why it is not there"
    if found.get("subsystem") == "pci":
        bits = int(found["dma_mask_bits"])
        assert 1 <= bits <= 64
        assert not device.dma_mask_bits or bits == device.dma_mask_bits
    declared = device.coherent
    if declared is None and found.get("subsystem") == "pci":
        declared = "coherent" in board.type.features
    if declared is not None and "coherent" in found:
        assert found["coherent"] == ("yes" if declared else "no")


@pytest.mark.requirement("CON-7")
def test_memory_of_the_board_is_reported(board):
    """Heaps are those that are declared, and contiguous memory is there where a heap needs it."""
    declared = {one.address.partition(":")[2] for one in board.devices if one.kind == "heap"}
    topology = board.topology
    assert declared <= set(topology["heaps"]), "declared heaps are missing"
    assert int(topology["memory_kib"]["MemTotal"]) > 0
    if any(one.driver == "cma_heap" for one in board.devices):
        assert int(topology["memory_kib"]["CmaTotal"]) > 0, "a CMA heap without CMA"
    if any(one.kind == "udmabuf" for one in board.devices):
        assert topology["udmabuf"].get("device") == "yes"
    assert topology["cma"] or topology["absent"]["cma"]


@pytest.mark.requirement("CON-7")
@pytest.mark.case("devices_found")
def test_every_device_is_declared_or_left_out(board):
    """A DRM driver, video device or heap of which neither says a word is NEW: nothing tests it."""
    told = board.run("devices_found").info
    found = [address for key, address in told.items() if key.startswith("device.")]
    names = (board.type.name, board.profile.name)
    if any(one.kind in ("drm", "v4l2", "m2m", "heap") for one in board.devices):
        known = len(found) - len(undeclared(found, board.devices, ()))
        control(known, f"of what {names[0]} with {names[1]} declares nothing was found")
    left_out = (*board.type.left_out, *board.profile.left_out)
    new = undeclared(found, board.devices, (one.address for one in left_out))
    if new:
        raise NoExpectation(
            f"the board has {', '.join(new)}, and neither {names[0]} nor {names[1]} declares it; "
            f"declare what is to be tested, leave out the rest with a reason (left_out:)"
        )
