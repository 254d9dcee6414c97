"""Map caching: what a device knows already costs nothing again, and is given back once."""

from collections.abc import Iterable

import pytest

from farm.pytest_plugin.api import CaseResult, Device, control
from farm.pytest_plugin.expectations import Import, Outcome

KIB, MIB = 1 << 10, 1 << 20


def has_node(device: Device) -> bool:
    """A device whose node leads to a device in sysfs; a heap has none behind it."""
    return device.kind != "heap"


def assert_first_maps(result: CaseResult, importer: Device, expected: Import) -> None:
    """The first import costs what is expected, and goes through the IOMMU that is declared."""
    assert result.counter("dma_buf_attach", phase="first") == expected.attaches, expected.reason
    assert result.counter("dma_map_sg", phase="first") == expected.maps, expected.reason
    if importer.iommu and expected.maps:
        control(
            result.counter("iommu_map", phase="first"),
            f"{importer.id} is declared behind an IOMMU, and nothing was mapped in one",
        )


def assert_free(result: CaseResult, phase: str) -> None:
    """Neither attached nor mapped."""
    for counter in ("dma_buf_attach", "dma_map_sg"):
        assert result.counter(counter, phase=phase) == 0, f"{counter} during {phase}"


@pytest.mark.requirement("MAP-1")
@pytest.mark.case("import_twice", "map_control")
@pytest.mark.over(exporter="memory exporter", importer="drm importer")
@pytest.mark.parametrize("size", [4 * KIB, MIB, 16 * MIB])
def test_second_import_costs_no_map(board, exporter, importer, size, expect, mapping_control):
    """The second import on the same open file finds the handle, whatever the buffer's size."""
    expected = expect.sharing(exporter, importer)
    result = board.run("import_twice", exporter=exporter, importer=importer, size=size)
    assert_first_maps(result, importer, expected)
    assert_free(result, "again")
    assert result.counter("dma_unmap_sg", phase="close") == expected.maps
    if not expected.maps:
        mapping_control(size)


@pytest.mark.requirement("MAP-2")
@pytest.mark.case("import_many", "map_control")
@pytest.mark.over(exporter="memory exporter", importer="drm importer")
def test_thousand_imports_cost_one(board, exporter, importer, expect, mapping_control):
    """A program that imports every frame anew pays once, and one close frees it all."""
    expected = expect.sharing(exporter, importer)
    result = board.run("import_many", exporter=exporter, importer=importer, imports=1000)
    assert_first_maps(result, importer, expected)
    assert_free(result, "rest")
    assert result.counter("dma_unmap_sg", phase="close") == expected.maps
    if not expected.maps:
        mapping_control()


@pytest.mark.requirement("MAP-3")
@pytest.mark.case("import_two_files", "map_control")
@pytest.mark.over(exporter="memory exporter", importer="drm importer")
def test_cache_is_per_open_file(board, exporter, importer, expect, mapping_control):
    """A second open file of the device attaches and maps for itself: handles are its own."""
    expected = expect.sharing(exporter, importer)
    result = board.run("import_two_files", exporter=exporter, importer=importer)
    for phase in ("one", "two"):
        seen = tuple(result.counter(name, phase=phase) for name in ("dma_buf_attach", "dma_map_sg"))
        assert seen == (expected.attaches, expected.maps), f"file {phase}: {expected.reason}"
    if not expected.maps:
        mapping_control()


@pytest.mark.requirement("MAP-4")
@pytest.mark.case("reimport", "map_control")
@pytest.mark.over(exporter="memory exporter", importer="drm importer")
def test_import_after_close_maps_again(board, exporter, importer, expect, mapping_control):
    """The cache lives as long as the handle: N rounds of import and close are N of everything."""
    expected = expect.sharing(exporter, importer)
    result = board.run("reimport", exporter=exporter, importer=importer, rounds=32)
    rounds = int(result.info["rounds"])
    assert result.counter("dma_buf_attach", phase="rounds") == rounds * expected.attaches
    assert result.counter("dma_map_sg", phase="rounds") == rounds * expected.maps, expected.reason
    assert result.counter("dma_unmap_sg", phase="rounds") == rounds * expected.maps
    if not expected.maps:
        mapping_control()


def two_behind_one_iommu(board, devices: Iterable[Device]) -> list[Device]:
    """Return the first two devices that sysfs has behind one and the same IOMMU, or none."""
    behind: dict[str, Device] = {}
    for device in devices:
        iommu = board.run("iommu_of", device=device).info.get("iommu")
        control(iommu, f"{device.id} is declared behind an IOMMU, and sysfs tells none")
        if iommu in behind:
            return [behind[iommu], device]
        behind[iommu] = device
    return []


@pytest.mark.requirement("MAP-9")
@pytest.mark.case("import_two_devices", "iommu_of")
@pytest.mark.over(exporter="udmabuf exporter")
def test_devices_behind_one_iommu_share_no_mapping(board, exporter, expect):
    """Where one mapping would do for all (thread 001), each device costs as many entries anew."""

    def keeps_its_map(device: Device) -> bool:
        row = expect.find(exporter, device) if device.imports and device.iommu else None
        return row is not None and row.outcome is Outcome.SHARED and bool(row.maps)

    found = [device for device in board.devices if keeps_its_map(device)]
    pair = two_behind_one_iommu(board, found) if len(found) > 1 else []
    if not pair:
        mapping = ", ".join(device.id for device in found) or "none"
        pytest.skip(
            f"no two devices behind one IOMMU map at import on Linux {board.kernel} ({mapping})"
        )
    importer, other = pair
    result = board.run("import_two_devices", exporter=exporter, importer=importer, other=other)
    entries = result.counter("iommu_map", phase="one")
    control(entries, f"{importer.id} is declared behind an IOMMU, and nothing was mapped in one")
    for phase in ("one", "other"):
        seen = tuple(
            result.counter(name, phase=phase)
            for name in ("dma_buf_attach", "dma_map_sg", "iommu_map")
        )
        assert seen == (1, 1, entries), f"attaches, maps and IOMMU entries of {phase}"


@pytest.mark.requirement("MAP-9")
@pytest.mark.case("iommu_of")
@pytest.mark.over(device=has_node)
def test_iommu_of_device_is_as_declared(board, device):
    """A device sits behind the IOMMU that its board type declares, in a group that translates."""
    info = board.run("iommu_of", device=device).info
    if device.own_domain:
        pytest.skip(f"{device.id} maps into IOMMU domains of its own, past the DMA API")
    groups = {str(group["id"]): group for group in board.topology["iommu_groups"]}
    if not device.iommu:
        group = info.get("iommu_group")
        assert info["behind_iommu"] == "no", f"declared without an IOMMU, found in group {group}"
        return
    assert info["behind_iommu"] == "yes", f"no IOMMU group above {info['node']}"
    assert info["iommu_group_type"] in ("DMA", "DMA-FQ"), "an identity domain maps nothing"
    assert info["iommu_driver"] == board.type.iommu
    assert info["iommu_group"] in groups, "the topology does not know the group"
    assert info["device"] in groups[info["iommu_group"]]["devices"]


@pytest.mark.requirement("MAP-9")
def test_board_has_the_declared_iommu(board):
    """There are IOMMU groups exactly where the board type declares an IOMMU."""
    groups = board.topology["iommu_groups"]
    if board.type.iommu:
        assert groups, f"{board.type.iommu} is declared, but sysfs has no IOMMU group"
    else:
        assert not groups, f"no IOMMU is declared, but sysfs has {len(groups)} groups"
