"""Synchronisation: fences that travel, conflict, expire or lose their owner; and flock."""

import pytest

from farm.pytest_plugin.api import Device, control


def fencer(device: Device) -> bool:
    """A device on whose buffers user space can attach fences and signal them."""
    return device.driver == "vgem"


def plain_buffers(device: Device) -> bool:
    """An exporter of plain buffers: udmabuf, or a DRM device's dumb buffers."""
    return device.exports and device.kind in ("udmabuf", "drm")


@pytest.mark.requirement("SYN-4")
@pytest.mark.case("fence_carried")
@pytest.mark.over(exporter="exporter", fencer=fencer)
def test_carried_fence_blocks_the_other_buffer(board, exporter, fencer, expect):
    """Exported from one buffer and imported into another, a fence holds back the other's users."""
    expect.sharing(exporter, fencer)
    other = next(device for device in board.devices if plain_buffers(device))
    board.run("fence_carried", exporter=exporter, other=other, fencer=fencer)


@pytest.mark.long
@pytest.mark.requirement("SYN-5")
@pytest.mark.case("fence_ends")
@pytest.mark.over(fencer=fencer)
def test_conflicting_and_late_fences_end(board, fencer):
    """EBUSY, ENOENT, and an end by itself, not before 10 s: ETIMEDOUT for who signals later."""
    board.run("fence_ends", exporter=fencer, fencer=fencer, timeout_s=90)


@pytest.mark.requirement("SYN-6")
@pytest.mark.case("fence_owner_killed")
@pytest.mark.over(exporter=plain_buffers, fencer=fencer)
def test_killed_owner_of_a_fence_releases_waiters(board, exporter, fencer, expect):
    """A process that dies takes its fences along, signalled: vgem_fence_close() does it."""
    expect.sharing(exporter, fencer)
    result = board.run("fence_owner_killed", exporter=exporter, fencer=fencer, timeout_s=70)
    made = result.counter("dma_fence_init", phase="killed")
    control(made >= int(result.info["rounds"]), f"only {made:.0f} fences were counted")


@pytest.mark.requirement("SYN-8")
@pytest.mark.case("flock_only")
@pytest.mark.over(exporter="exporter")
def test_flock_is_no_synchronisation(board, exporter):
    """Nobody waits for a lock of the descriptor, not even who wants the lock."""
    board.run("flock_only", exporter=exporter)


@pytest.mark.requirement("SYN-11")
@pytest.mark.declared("sw_sync")
@pytest.mark.case("sw_sync_timeline", "sw_sync_merge")
@pytest.mark.parametrize("case", ["sw_sync_timeline", "sw_sync_merge"])
def test_sw_sync_as_documented(board, case, expect):
    """Timelines signal in order, merged sync_files wait for all, and a closed timeline is told."""
    detached = expect.behaves("detached_driver", "sw_sync") and case == "sw_sync_merge"
    board.run(case, **({"signaled": "detached-driver"} if detached else {}))


@pytest.mark.requirement("SYN-11", "SYN-4")
@pytest.mark.declared("sw_sync")
@pytest.mark.case("sw_sync_buffer")
@pytest.mark.over(exporter="udmabuf exporter")
def test_sw_sync_fence_blocks_a_buffer(board, exporter):
    """A fence of no device at all orders a buffer's users, if it is imported into it."""
    board.run("sw_sync_buffer", exporter=exporter)


@pytest.mark.requirement("SYN-12")
@pytest.mark.case("syncobj_timeline")
@pytest.mark.over(device="drm", fencer=fencer)
def test_syncobj_timeline_is_in_order(board, device, fencer, expect):
    """Points are signalled and waited for in order, across processes and a buffer's fence."""
    claimed = expect.behaves("syncobj_timelines", device.driver)
    board.run("syncobj_timeline", device=device, fencer=fencer, claimed=claimed)
