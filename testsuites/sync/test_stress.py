"""Synchronisation under stress: many processes at once, by decisions that a seed repeats."""

import pytest

from farm.pytest_plugin.api import Device, control


def need_sw_sync(board) -> None:
    """Skip where the kernel was never said to have sw_sync."""
    if "sw_sync" not in board.profile.features:
        pytest.skip(f"{board.profile.name} declares no sw_sync")


def fencer(device: Device) -> bool:
    """A device that fences come from: vgem's on request, the reference device's with transfers."""
    return device.driver == "vgem" or (device.kind == "refdev" and device.imports)


def vgem(device: Device) -> bool:
    """A device on whose buffers user space can attach fences and signal them."""
    return device.driver == "vgem"


@pytest.mark.requirement("SYN-7")
@pytest.mark.case("fence_churn")
@pytest.mark.over(exporter="memory exporter", fencer=fencer)
def test_fence_churn_leaves_no_fence(board, exporter, fencer, stress):
    """Merged, imported, exported and waited for at random, every fence that was made is freed."""
    result = board.run("fence_churn", exporter=exporter, fences=fencer, **stress.arguments)
    made = result.counter("dma_fence_init", phase="churn")
    control(made, "no fence was counted")


@pytest.mark.requirement("SYN-7")
@pytest.mark.case("fence_churn")
@pytest.mark.over(exporter="memory exporter")
def test_fence_churn_of_timelines_leaves_no_fence(board, exporter, stress):
    """The same with fences of sw_sync timelines, one timeline a process."""
    need_sw_sync(board)
    result = board.run("fence_churn", exporter=exporter, fences="sw_sync", **stress.arguments)
    made = result.counter("dma_fence_init", phase="churn")
    control(made, "no fence was counted")


@pytest.mark.requirement("SYN-9")
@pytest.mark.case("ping_pong")
@pytest.mark.over(exporter="memory exporter", fencer=vgem)
def test_writers_in_turn_never_tear(board, exporter, fencer, stress):
    """A turn that is told at once, and a fence that holds back: whole frames, the last one each."""
    result = board.run(
        "ping_pong", exporter=exporter, fences=fencer, size=65536, **stress.arguments
    )
    assert (result.info["torn"], result.info["lost"]) == ("0", "0")
    control(int(result.info["frames"]) >= 14, f"only {result.info['frames']} frames were read")


@pytest.mark.requirement("SYN-9")
@pytest.mark.case("ping_pong")
@pytest.mark.over(exporter="udmabuf exporter", fencer=vgem, device="refdev importer")
def test_writers_on_cpu_and_device_never_tear(board, exporter, fencer, device, stress):
    """The CPU's writer waits for the device's own fences, and the device's driver for the CPU's."""
    if "bounces" in board.type.features and not device.iommu:
        pytest.skip(f"{exporter.id} is bounced for {device.id}: its content waits for SYNC")
    result = board.run("ping_pong", exporter=exporter, fences=fencer, b=device, **stress.arguments)
    assert (result.info["torn"], result.info["lost"]) == ("0", "0")
    control(int(result.info["frames"]) >= 14, f"only {result.info['frames']} frames were read")


@pytest.mark.requirement("SYN-9")
@pytest.mark.case("ping_pong")
@pytest.mark.over(exporter="memory exporter")
@pytest.mark.parametrize("order", ["turns", "nothing"])
def test_writers_without_fences_are_counted(board, exporter, order, stress):
    """Told whose turn it is but not when the frame is whole, or neither: what goes wrong counts."""
    # With turns one frame is torn on purpose, and not counted; how many others are, is chance.
    result = board.run("ping_pong", exporter=exporter, size=65536, order=order, **stress.arguments)
    if order == "turns":
        seen = result.info["control"]
        control(seen == "torn", f"the frame that was half written when it was read was {seen}")
    else:
        spoilt = int(result.info["torn"]) + int(result.info["lost"])
        control(spoilt, f"of {result.info['frames']} frames none was torn or lost without turns")


@pytest.mark.requirement("SYN-10")
@pytest.mark.case("lock_order")
@pytest.mark.over(exporter="memory exporter", fencer=vgem)
def test_opposite_orders_do_not_deadlock(board, exporter, fencer, stress):
    """Four tasks, two in each order, import fences into two buffers; nobody waits for ever."""
    result = board.run("lock_order", exporter=exporter, fences=fencer, **stress.arguments)
    control(int(result.info["operations"]) >= 64, "the tasks did next to nothing")


@pytest.mark.requirement("SYN-10")
@pytest.mark.case("lock_order")
@pytest.mark.over(exporter="memory exporter")
def test_opposite_orders_of_timelines_do_not_deadlock(board, exporter, stress):
    """The same with fences of sw_sync timelines."""
    need_sw_sync(board)
    result = board.run("lock_order", exporter=exporter, fences="sw_sync", **stress.arguments)
    control(int(result.info["operations"]) >= 64, "the tasks did next to nothing")


@pytest.mark.requirement("SYN-10")
@pytest.mark.case("lock_tickets")
@pytest.mark.over(exporter="udmabuf exporter", device="refdev importer")
def test_opposite_orders_of_locks_do_not_deadlock(board, exporter, device, stress):
    """A driver that locks two buffers at once, for opposite orders: by ticket all get both."""
    result = board.run("lock_tickets", exporter=exporter, device=device, **stress.arguments)
    backoffs = int(result.info["backoffs"])
    control(backoffs, "no task met another's lock with its own held, so none could deadlock")
    made = result.counter("dma_fence_init", phase="contest")
    # Who exports a sync_file while another's fence is pending beside his own gets an array of both,
    # a fence too: dma_resv_get_singleton(), drivers/dma-buf/dma-resv.c, 6.12.
    arrays = int(result.info["arrays"])
    expected = int(result.info["operations"]) + arrays
    assert made == expected, f"a fence for each pair of locks, and one for each of {arrays} arrays"
