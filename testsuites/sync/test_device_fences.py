"""Synchronisation with a device: its transfers hold a fence until the interrupt."""

import pytest

from farm.pytest_plugin.api import CaseResult, Device, control


def kernel_buffer(device: Device) -> bool:
    """A heap of scattered pages, or udmabuf: memory of the kernel's, behind no device."""
    return device.exports and device.driver in ("system_heap", "udmabuf")


@pytest.mark.requirement("SYN-1", "SYN-2", "SYN-3")
@pytest.mark.case("device_fences")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_transfer_holds_back_whom_it_should(board, exporter, importer, mode):
    """A device that reads holds back writers, one that writes holds back everybody."""
    result = board.run("device_fences", exporter=exporter, importer=importer, mode=mode)
    through = result.value("sync_start", phase="reader-of-read")
    for phase in ("writer-of-read", "reader-of-write"):
        waited = result.value("sync_start", phase=phase)
        control(waited > through, f"{phase} waited {waited:.0f} ns, who need not {through:.0f} ns")
    made = result.counter("dma_fence_init", phase="fences")
    assert result.counter("dma_fence_signaled", phase="fences") == made
    control(made, "no fence was counted")


def assert_unmapped(result: CaseResult, phase: str) -> None:
    """Whatever was mapped, and something was, has been unmapped."""
    maps = result.counter("dma_map_sg", phase=phase)
    control(maps, "nothing was mapped, so nothing can be left")
    assert result.counter("dma_unmap_sg", phase=phase) == maps


@pytest.mark.requirement("SYN-6")
@pytest.mark.case("device_killed")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_killed_owner_of_a_transfer_leaves_nothing(board, exporter, importer, mode):
    """Who waits for a transfer whose owner was killed is woken, and the buffer is unmapped."""
    result = board.run("device_killed", exporter=exporter, importer=importer, mode=mode)
    assert_unmapped(result, "killed")
    attached = result.counter("dma_buf_attach", phase="killed")
    assert result.counter("dma_buf_detach", phase="killed") == attached


@pytest.mark.requirement("SYN-6")
@pytest.mark.case("device_unbound")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_device_that_goes_away_releases_its_waiters(board, exporter, importer, mode):
    """A device unbound in mid-transfer signals its fence and unmaps, whoever has it open."""
    result = board.run("device_unbound", exporter=exporter, importer=importer, mode=mode)
    assert_unmapped(result, "unbound")


@pytest.mark.requirement("SYN-5", "SYN-6")
@pytest.mark.case("device_timeout")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_transfer_that_never_ends_is_given_up(board, exporter, importer, mode):
    """A device that never finishes is taken off the bus, then its waiters get ETIMEDOUT."""
    result = board.run("device_timeout", exporter=exporter, importer=importer, mode=mode)
    assert_unmapped(result, "timeout")
