"""Synchronisation: implicit fences seen by poll, by SYNC and by sync_files."""

import pytest

from farm.pytest_plugin.api import Device, control


def fencer(device: Device) -> bool:
    """A device on whose buffers user space can attach fences and signal them."""
    return device.driver == "vgem"


@pytest.mark.requirement("SYN-1")
@pytest.mark.case("poll_fences")
@pytest.mark.over(exporter="exporter", fencer=fencer)
def test_poll_tells_readers_from_writers(board, exporter, fencer, expect):
    """The fences of one device order the accesses of all, through the buffer's reservation."""
    expect.sharing(exporter, fencer)
    board.run("poll_fences", exporter=exporter, fencer=fencer)


@pytest.mark.requirement("SYN-2")
@pytest.mark.case("sync_wakes")
@pytest.mark.over(exporter="exporter", fencer=fencer)
def test_sync_start_waits_and_wakes(board, exporter, fencer, expect, rounds):
    """A CPU access sleeps until the device has written, then wakes; how soon is sampled."""
    expect.sharing(exporter, fencer)
    # Every board with fences has the fencer's own buffer; the others' are for their median.
    own = exporter == fencer
    times = rounds(1000 if own else 100)
    result = board.run(
        "sync_wakes", exporter=exporter, fencer=fencer, rounds=times, distribution=own
    )
    half = result.value("wake_latency", phase="p50")
    control(half, "half of the wake-ups took no time: the two clocks are not one")


@pytest.mark.requirement("SYN-3")
@pytest.mark.case("sync_file_snapshot")
@pytest.mark.over(exporter="exporter", fencer=fencer)
def test_sync_file_is_a_snapshot(board, exporter, fencer, expect):
    """An exported sync_file waits for the fences of its moment, and for none that come later."""
    expect.sharing(exporter, fencer)
    board.run("sync_file_snapshot", exporter=exporter, fencer=fencer)
