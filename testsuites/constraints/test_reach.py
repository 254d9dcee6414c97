"""Constraints: a device with fewer address bits than memory needs is served rightly, or refused."""

import re

import pytest

from farm.pytest_plugin.api import Device, control, known_failure

EDU = ("0x1234", "0x11e8")
"""PCI ids of the reference device's function."""

BOUNCE_UNSYNCED = (
    "udmabuf maps with DMA_ATTR_SKIP_CPU_SYNC and copies nothing to or from the bounce buffer of "
    "an importer: its begin_cpu_access() syncs for udmabuf's own misc device only "
    "(drivers/dma-buf/udmabuf.c)"
)


KIB, MIB = 1 << 10, 1 << 20


def kernel_buffer(device: Device) -> bool:
    """A heap of scattered pages, or udmabuf: memory of the kernel's, behind no device."""
    return device.exports and device.driver in ("system_heap", "udmabuf")


def lost_in_bouncing(exporter: Device, importer: Device, board) -> bool:
    """Whether the kernel is known to give a bouncing device wrong data of this exporter."""
    return exporter.driver == "udmabuf" and not importer.iommu and board.kernel.at_least(6, 12)


@pytest.mark.requirement("CON-3", "CON-4")
@pytest.mark.case("device_reach")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_device_reaches_memory_beyond_its_bits(board, exporter, importer, mode, request):
    """Behind an IOMMU its addresses are within its bits; without one, what it uses bounces."""
    # A run of pages over 256 KiB is not bounced but refused with EIO (IO_TLB_SEGSIZE), and the
    # system heap's runs are of up to 1 MiB.
    lost = lost_in_bouncing(exporter, importer, board)
    with known_failure(request, BOUNCE_UNSYNCED, r"wrong data: byte \d+ is 0x", when=lost):
        result = board.run(
            "device_reach",
            exporter=exporter,
            importer=importer,
            mode=mode,
            size=MIB if importer.iommu else 64 * KIB,
        )
    bits, highest = int(result.info["dma_bits"]), int(result.info["highest_dma_address"])
    assert bits == importer.dma_mask_bits
    assert highest >> bits == 0
    bounced = result.counter("swiotlb_bounced", phase="copies")
    top = int(result.info["memory_top"])
    control(top >> bits, f"all memory is within {bits} bits: it ends at {top:#x}")
    if importer.iommu:
        assert bounced == 0, "memory behind an IOMMU was bounced"
        control(result.counter("iommu_map", phase="copies"), "nothing was mapped in an IOMMU")
    else:
        control(bounced, "the right data came without bouncing: the buffer was within reach")


@pytest.mark.requirement("CON-4")
@pytest.mark.declared("refdev", "refdev_refused")
def test_28_bits_without_an_iommu_are_refused(board):
    """Where 28 bits do not reach memory and no IOMMU helps, the driver refuses the device."""
    functions = {
        name: device
        for name, device in board.topology["devices"].items()
        if (device.get("vendor"), device.get("device")) == EDU
    }
    control(functions, f"{board.type.name} has no edu function")
    board.command("rmmod refdev")
    said = board.command("dmesg -c >/dev/null; modprobe refdev; dmesg")
    assert "28 bits do not reach this machine's memory" in said, said
    assert re.search(r"error -(EIO|5):", said), said
    for name in functions:
        bound = board.command(f"ls /sys/bus/pci/devices/{name}")
        assert "driver" not in bound.split(), f"{name} has a driver"
    assert not board.command("ls /dev").count("refdev")


@pytest.mark.requirement("CON-7")
@pytest.mark.case("device_limits")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
def test_device_tells_its_limits_and_keeps_them(board, exporter, importer):
    """It tells its address bits, sysfs agrees, and whatever is beyond its limits is refused."""
    result = board.run("device_limits", exporter=exporter, importer=importer)
    bits = int(result.info["dma_bits"])
    assert bits == importer.dma_mask_bits
    masks = {
        device.get("dma_mask_bits")
        for device in board.topology["devices"].values()
        if device.get("driver") == "refdev"
    }
    assert masks == {str(bits)}
