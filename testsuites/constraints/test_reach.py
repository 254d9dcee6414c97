"""Constraints: a device with fewer address bits than memory needs is served rightly, or refused."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from farm.pytest_plugin.api import Device, control

EDU = ("0x1234", "0x11e8")
"""PCI ids of the reference device's function."""

KIB, MIB = 1 << 10, 1 << 20


def kernel_buffer(device: Device) -> bool:
    """A heap of scattered pages, or udmabuf: memory of the kernel's, behind no device."""
    return device.exports and device.driver in ("system_heap", "udmabuf")


def edu_functions(board) -> list[str]:
    """Return the PCI functions that are the reference device, as sysfs names them."""
    found = board.topology["devices"].items()
    return [name for name, one in found if (one.get("vendor"), one.get("device")) == EDU]


@contextmanager
def untranslated(board, function: str) -> Iterator[bool]:
    """Have the IOMMU let a PCI function's addresses through, and tell whether its driver takes it.

    The group's default domain can be changed while no driver is bound: iommu_group_store_type(),
    drivers/iommu/iommu.c (6.12).
    """
    device = f"/sys/bus/pci/devices/{function}"
    before = board.command(f"cat {device}/iommu_group/type").strip()

    def become(kind: str) -> None:
        board.command(
            f"set -e; [ ! -e {device}/driver ] || echo {function} > {device}/driver/unbind;"
            f" echo {kind} > {device}/iommu_group/type;"
            f" echo {function} > /sys/bus/pci/drivers/refdev/bind || true"
        )

    try:
        become("identity")
        bound = board.command(f"[ -e {device}/driver ] && echo bound || true")
        yield bound.strip() == "bound"
    finally:
        become(before)


@pytest.fixture(scope="session")
def seen_bouncing() -> dict[int, bool]:
    """By boot, whether :func:`bounces_untranslated` saw the device bounce."""
    return {}


@pytest.fixture
def bounces_untranslated(board, seen_bouncing) -> Callable[[Device], bool]:
    """Tell whether bounces are counted here and now, so that zero behind the IOMMU means none.

    The same device uses a buffer with its IOMMU letting addresses through, once a boot. No zero can
    be claimed where the driver then refuses the device (28 bits), no heap has a buffer that is
    right when bounced, or the next case has a boot of its own (exact boards).
    """

    def run(importer: Device) -> bool:
        if board.boot not in seen_bouncing:
            seen_bouncing[board.boot] = _bounces(board, importer)
        return seen_bouncing[board.boot]

    return run


def _bounces(board, importer: Device) -> bool:
    heaps = [device for device in board.devices if device.driver == "system_heap"]
    functions = edu_functions(board)
    if not heaps or not functions or board.type.exact:
        return False
    with untranslated(board, functions[0]) as bound:
        if not bound:
            return False
        result = board.run(
            "device_reach", exporter=heaps[0], importer=importer, mode="per-use", size=64 * KIB
        )
    bounced = result.counter("swiotlb_bounced", phase="copies")
    control(bounced, "without translation nothing was bounced: the buffer was within reach")
    return True


def reaches_32_bits(device: Device) -> bool:
    """A reference device that has 32 address bits."""
    return device.imports and device.kind == "refdev" and device.dma_mask_bits == 32


def reaches_fewer_bits(device: Device) -> bool:
    """A reference device that has fewer than 32 address bits."""
    return device.imports and device.kind == "refdev" and device.dma_mask_bits < 32


@pytest.fixture
def reach(board, expect, request, bounces_untranslated) -> Callable[[Device, Device, str], int]:
    """Have a device copy in memory beyond its bits; tell where the board's memory ends."""

    def run(exporter: Device, importer: Device, mode: str) -> int:
        # A run of pages over 256 KiB is not bounced but refused with EIO (IO_TLB_SEGSIZE), and the
        # system heap's runs are of up to 1 MiB.
        size = MIB if importer.iommu else 64 * KIB
        wrong, bounces = r"wrong data: byte \d+ is 0x", not importer.iommu
        with expect.known(request, "bounces_unsynced", exporter.driver, wrong, when=bounces):
            result = board.run(
                "device_reach", exporter=exporter, importer=importer, mode=mode, size=size
            )
        bits, highest = int(result.info["dma_bits"]), int(result.info["highest_dma_address"])
        assert bits == importer.dma_mask_bits
        assert highest >> bits == 0
        bounced = result.counter("swiotlb_bounced", phase="copies")
        top = int(result.info["memory_top"])
        control(top >> bits, f"all memory is within {bits} bits: it ends at {top:#x}")
        if importer.iommu:
            if bounces_untranslated(importer):
                assert bounced == 0, "memory behind an IOMMU was bounced"
            control(result.counter("iommu_map", phase="copies"), "nothing was mapped in an IOMMU")
        else:
            control(bounced, "the right data came without bouncing: the buffer was within reach")
        return top

    return run


@pytest.mark.requirement("CON-3")
@pytest.mark.case("device_reach")
@pytest.mark.over(exporter=kernel_buffer, importer=reaches_32_bits)
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_device_of_32_bits_is_served_above_4_gib(exporter, importer, mode, reach):
    """Behind an IOMMU its addresses are within its bits; without one, what it uses bounces."""
    top = reach(exporter, importer, mode)
    control(top >> 32, f"the board has no memory above 4 GiB: it ends at {top:#x}")


@pytest.mark.requirement("CON-4")
@pytest.mark.case("device_reach")
@pytest.mark.over(exporter=kernel_buffer, importer=reaches_fewer_bits)
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_device_of_28_bits_is_served_through_an_iommu(exporter, importer, mode, reach):
    """Memory beyond its bits has addresses within them, which the IOMMU translates."""
    control(importer.iommu, f"{importer.id} is declared behind no IOMMU")
    reach(exporter, importer, mode)


@pytest.mark.requirement("CON-4")
@pytest.mark.declared("refdev", "refdev_refused")
def test_28_bits_without_an_iommu_are_refused(board):
    """Where 28 bits do not reach memory and no IOMMU helps, the driver refuses the device."""
    functions = edu_functions(board)
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
