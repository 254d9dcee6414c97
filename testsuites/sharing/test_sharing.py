"""Sharing: one object has one dma-buf, every pair carries or refuses, nothing stays behind."""

import pytest

from farm.pytest_plugin.api import CaseFailed, Device, control, known_failure
from farm.pytest_plugin.expectations import Outcome, Seen


def own_buffers(device: Device) -> bool:
    """A DRM device that both makes and takes buffers."""
    return device.kind == "drm" and device.exports and device.imports


@pytest.mark.requirement("SHR-1")
@pytest.mark.case("export_twice")
@pytest.mark.over(device="drm exporter")
def test_two_exports_are_one_dma_buf(board, device):
    """Both exports of an object are one open file with one inode, so caches keyed by it work."""
    board.run("export_twice", device=device)


@pytest.mark.requirement("SHR-2")
@pytest.mark.case("import_own", "map_control")
@pytest.mark.over(device=own_buffers)
def test_own_export_comes_back_as_the_same_handle(board, device, mapping_control):
    """A device that gets its own buffer back must know it, and neither attach nor map it."""
    result = board.run("import_own", device=device)
    for phase in ("own", "returned"):
        assert result.counter("dma_buf_attach", phase=phase) == 0
        assert result.counter("dma_map_sg", phase=phase) == 0
    mapping_control()


BOUNCED = (
    "memory above 4 GiB is bounced for a 32-bit device: a run of over 256 KiB is EIO "
    "(IO_TLB_SEGSIZE), else the content stays in the bounce buffer, as the exporter neither syncs "
    "at map (DMA_ATTR_SKIP_CPU_SYNC) nor has its view synced before the unmap"
)


LOST_IN_BOUNCING = r"was refused with EIO|byte \d+ of \d+ is 0x"

LEFT = ("dma_buf_left", "dma_fence_left", "cma_left")
"""What a case may leave behind, by counter; bytes go with the first."""


def lost_in_bouncing(board, exporter, importer):
    """Whether the content of a map that lasts is known not to pass the bounce buffer."""
    beyond = not exporter.contiguous and exporter.driver not in ("cma_heap", "bochs-drm")
    return importer.kind == "refdev" and "bounces" in board.type.features and beyond


def attempt(cell, run, *pair):
    """Run a case that tells what became of a pair; note it, return outcome, errno and result."""
    try:
        result = run()
    except CaseFailed as failed:
        if "outcome" in failed.result.info:  # it got as far as importing
            cell(*pair, "wrong")
        raise
    return *cell.told(*pair, result.info), result


def imports_by_itself(device: Device) -> bool:
    """An importer other than a codec that uses the CPU: CPU-1 tells what those make of a buffer."""
    return device.imports and not (device.kind == "m2m" and device.cpu_only)


@pytest.mark.requirement("SHR-3")
@pytest.mark.case("share", "map_control")
@pytest.mark.over(exporter="exporter", importer=imports_by_itself)
def test_pair_carries_the_content_or_refuses(
    board, exporter, importer, expect, matrix_cell, counting_control, request
):
    """A pair shares its content, as far as it shows, or refuses with the errno of its drivers."""
    expected = expect.find(exporter, importer)
    leak = expected.leak if expected is not None else ""
    chance = expected is not None and expected.outcome == Outcome.EITHER
    lost = lost_in_bouncing(board, exporter, importer)
    with known_failure(request, BOUNCED, LOST_IN_BOUNCING, when=lost):
        outcome, errno, result = attempt(
            matrix_cell,
            lambda: board.run(
                "share",
                exporter=exporter,
                importer=importer,
                again="may" if chance else "must",
                crc=int(importer.crc),
                tolerate=["leak"] if leak else [],
            ),
            exporter,
            importer,
        )
        attaches = int(result.counter("dma_buf_attach", phase="import"))
        maps = int(result.counter("dma_map_sg", phase="import"))
        expect.judge(exporter, importer, Seen(outcome, errno, attaches, maps))
    if not maps:
        counting_control()
    if leak:
        left = {one.metric: one.value for one in result.samples if one.metric in LEFT}
        assert left.pop("dma_buf_left", 0) == 1, f"this kernel has another leak, or none: {leak}"
        assert not any(left.values()), f"more is left than the one dma-buf: {left}"
        pytest.xfail(leak)


@pytest.mark.requirement("SHR-3")
@pytest.mark.case("share_cpu")
@pytest.mark.over(exporter="exporter")
def test_cpu_mapping_carries_the_content(board, exporter, matrix_cell):
    """A program is an importer too: what it maps is what the exporter has, both ways."""
    outcome, errno, _ = attempt(
        matrix_cell, lambda: board.run("share_cpu", exporter=exporter), exporter, "cpu"
    )
    assert outcome == Outcome.SHARED, f"{exporter.id}'s dma-buf cannot be mapped: {errno}"


@pytest.mark.requirement("SHR-5")
@pytest.mark.declared("debugfs")
@pytest.mark.case("exporter_gone")
@pytest.mark.over(exporter="exporter", importer="drm importer")
def test_content_outlives_its_exporter(board, exporter, importer, expect):
    """Closed or killed: the importer's handle alone keeps the buffer, its close gives all back."""
    expected = expect.sharing(exporter, importer)
    board.run("exporter_gone", exporter=exporter, importer=importer, attaches=expected.attaches)


@pytest.mark.requirement("SHR-6")
@pytest.mark.case("import_refused", "map_control")
@pytest.mark.over(importer="importer dma")
def test_refused_import_leaves_nothing_mapped(board, importer, expect, mapping_control):
    """Whoever's buffer an importer refuses, it has unmapped when it answers what it had mapped."""
    found = ((one, expect.find(one, importer)) for one in board.devices if one.exports)
    refused = [
        (exporter, row)
        for exporter, row in found
        if row is not None and row.outcome is Outcome.REFUSED and not row.leak
    ]
    if not refused:
        pytest.skip(f"no refusal of {importer.id} is sure on Linux {board.kernel}")
    for exporter, expected in refused:
        pair = f"{exporter.id} into {importer.id}"
        result = board.run(
            "import_refused", exporter=exporter, importer=importer, errno=expected.errno
        )
        tries = int(result.info["tries"])
        maps = result.counter("dma_map_sg", phase="refused")
        unmaps = result.counter("dma_unmap_sg", phase="refused")
        assert maps == expected.maps * tries, (
            f"{pair}: maps of {tries} refused imports; {expected.reason}"
        )
        assert unmaps == maps, f"{pair}: {maps:.0f} maps, {unmaps:.0f} unmaps of {tries} refusals"
        if importer.iommu and maps:
            control(
                result.counter("iommu_map", phase="refused"),
                f"{importer.id} is declared behind an IOMMU, and nothing was mapped in one",
            )
    mapping_control()
