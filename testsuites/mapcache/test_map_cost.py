"""What a map costs: an IOMMU entry for each physical run, and time that is only reported."""

import pytest

from farm.pytest_plugin.api import CaseResult, Device, control

KIB, MIB = 1 << 10, 1 << 20
PAGE, HUGE = 4 * KIB, 2 * MIB

SIZES_OF_RUNS = [
    *((size, PAGE) for size in (4 * KIB, 64 * KIB, MIB, 4 * MIB)),
    *((size, 64 * KIB) for size in (64 * KIB, MIB, 16 * MIB, 64 * MIB)),
    *((size, HUGE) for size in (2 * MIB, 16 * MIB, 64 * MIB)),
]
"""Sizes with the length of their runs: at most 1024 runs (udmabuf's list_limit), at most 64 MiB."""

IN_SOFTWARE = ("vgem", "vkms")
"""Drivers of no device: what they map, nothing translates on any board."""

BOUNCED_AT_MOST = 256 * KIB
"""What one run may have where it is bounced (IO_TLB_SEGSIZE, include/linux/swiotlb.h)."""


def assert_each_round_maps(result: CaseResult, refused: bool = False) -> None:
    """Every round mapped once and unmapped once, and so did the one that was counted by halves.

    Who refuses a buffer that it has mapped, unmaps it in the first half.
    """
    rounds = int(result.info["rounds"])
    seen = {
        phase: tuple(result.counter(name, phase=phase) for name in ("dma_map_sg", "dma_unmap_sg"))
        for phase in ("rounds", "map", "unmap")
    }
    halves = {"map": (1, 1), "unmap": (0, 0)} if refused else {"map": (1, 0), "unmap": (0, 1)}
    assert seen == {"rounds": (rounds, rounds), **halves}, "maps and unmaps of one import each"


def assert_entries(result: CaseResult, size: int, run: int, unmap: str = "unmap") -> None:
    """The IOMMU has an entry for each run, the same in every round, and is emptied at once."""
    runs = int(result.info["runs"])
    control(runs == size // run, f"{size} bytes were not made of runs of {run}")
    assert result.counter("iommu_map", phase="map") == runs, f"entries of {runs} runs"
    assert result.counter("iommu_map", phase="rounds") == runs * int(result.info["rounds"])
    assert result.counter("iommu_unmap", phase=unmap) == 1, "unmaps of one range of IOVA"


def maps_and_refuses(device: Device) -> bool:
    """A DRM importer that maps on every kernel, and then refuses what it has mapped."""
    return device.imports and device.driver == "virtio_gpu"


def takes_pieces(device: Device) -> bool:
    """An importer in hardware that does DMA in memory of many pieces."""
    does_dma = device.imports and not device.cpu_only and device.driver not in IN_SOFTWARE
    return does_dma and not device.contiguous and not maps_and_refuses(device)


@pytest.mark.requirement("MAP-10")
@pytest.mark.case("map_cost")
@pytest.mark.over(exporter="udmabuf exporter", importer=takes_pieces)
@pytest.mark.parametrize(("size", "run"), SIZES_OF_RUNS)
def test_map_costs_an_entry_for_each_run(board, exporter, importer, size, run, expect):
    """The scatter is constructed, so the entries are known; time per MiB follows them."""
    expected = expect.sharing(exporter, importer)
    if not expected.maps:
        pytest.skip(f"{importer.id} maps nothing when it imports on Linux {board.kernel}")
    if "bounces" in board.type.features and run > BOUNCED_AT_MOST:
        pytest.skip(f"a run of {run} bytes cannot be bounced")
    result = board.run("map_cost", exporter=exporter, importer=importer, size=size, run=run)
    assert_each_round_maps(result)
    if importer.iommu:  # else nothing translates, whatever the runs
        assert_entries(result, size, run)


@pytest.mark.requirement("MAP-10")
@pytest.mark.case("map_cost")
@pytest.mark.over(exporter="udmabuf exporter", importer=maps_and_refuses)
@pytest.mark.parametrize(("size", "run"), [(MIB, PAGE), (MIB, 64 * KIB), (64 * MIB, HUGE)])
def test_refused_map_costs_an_entry_for_each_run(board, exporter, importer, size, run, expect):
    """What is mapped in vain costs as much; it can be counted where nobody else maps at import."""
    expected = expect.of_import(exporter, importer)
    if not (expected.maps and expected.errno):
        pytest.skip(f"{importer.id} does not refuse what it has mapped on Linux {board.kernel}")
    result = board.run(
        "map_cost",
        exporter=exporter,
        importer=importer,
        size=size,
        run=run,
        errno=expected.errno,
    )
    assert_each_round_maps(result, refused=True)
    if importer.iommu:
        assert_entries(result, size, run, unmap="map")


def any_pages(device: Device) -> bool:
    """An exporter of pages as shmem has them, one by one."""
    return device.exports and device.driver == "vgem"


@pytest.mark.requirement("MAP-10")
@pytest.mark.case("map_cost")
@pytest.mark.over(exporter=any_pages, importer=takes_pieces)
@pytest.mark.parametrize("size", [64 * KIB, MIB, 16 * MIB])
def test_map_costs_the_same_in_every_round(board, exporter, importer, size, expect):
    """Without udmabuf nobody chooses the runs, but a buffer keeps them: each map costs alike."""
    if any(device.kind == "udmabuf" for device in board.devices):
        pytest.skip(f"{board.profile.name} has udmabuf, so that runs are constructed")
    expected = expect.sharing(exporter, importer)
    if not expected.maps:
        pytest.skip(f"{importer.id} maps nothing when it imports on Linux {board.kernel}")
    result = board.run("map_cost", exporter=exporter, importer=importer, size=size, run=0)
    assert_each_round_maps(result)
    if importer.iommu:
        entries = result.counter("iommu_map", phase="map")
        assert 1 <= entries <= size // PAGE, f"entries of {size // PAGE} pages"
        assert result.counter("iommu_map", phase="rounds") == entries * int(result.info["rounds"])
