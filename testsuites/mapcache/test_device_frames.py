"""Map caching, by a device whose driver maps as it is told: for each use, or once."""

import pytest

from farm.pytest_plugin.api import Device, control


def kernel_buffer(device: Device) -> bool:
    """A heap of scattered pages, or udmabuf: memory of the kernel's, behind no device."""
    return device.exports and device.driver in ("system_heap", "udmabuf")


@pytest.mark.requirement("MAP-5")
@pytest.mark.case("device_frames")
@pytest.mark.over(exporter=kernel_buffer, importer="refdev importer")
@pytest.mark.parametrize("mode", ["per-use", "cached"])
def test_maps_per_frame_are_what_the_driver_asks_for(board, exporter, importer, mode, expect):
    """Mapping for each frame costs a map each, unless the exporter caches; once costs one."""
    frames = 4
    result = board.run(
        "device_frames",
        exporter=exporter,
        importer=importer,
        mode=mode,
        frames=frames,
        size=(1 << 20) if importer.iommu else (64 << 10),  # what can also be bounced
    )
    counted = {
        phase: tuple(
            result.counter(name, phase=phase)
            for name in ("dma_buf_attach", "dma_map_sg", "dma_unmap_sg")
        )
        for phase in ("attach", "frames", "detach")
    }
    asked = int(result.info["device_maps"])
    assert int(result.info["device_transfers"]) == frames
    if mode == "cached":
        assert asked == 0, "the driver maps at attach, and not again"
        expected = {"attach": (1, 1, 0), "frames": (0, 0, 0), "detach": (0, 0, 1)}
    elif expect.behaves("caches_map", exporter.driver):
        control(asked == frames, f"the driver asked for {asked} maps of {frames} frames")
        expected = {"attach": (1, 0, 0), "frames": (0, 1, 0), "detach": (0, 0, 1)}
    else:
        expected = {"attach": (1, 0, 0), "frames": (0, frames, frames), "detach": (0, 0, 0)}
    assert counted == expected, f"attaches, maps, unmaps of {exporter.id}, mapped {mode}"
    if importer.iommu:
        control(
            sum(result.counter("iommu_map", phase=phase) for phase in counted),
            f"{importer.id} is declared behind an IOMMU, and nothing was mapped in one",
        )
