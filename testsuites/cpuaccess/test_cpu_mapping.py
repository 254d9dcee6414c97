"""CPU access by programs: one range, mapped once, flushed for each device, seen by the device."""

import pytest

from farm.pytest_plugin.api import Device, control, known_failure

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.requirement("CPU-2")
@pytest.mark.case("cpu_order")
@pytest.mark.over(exporter="udmabuf exporter")
@pytest.mark.parametrize("pages", ["small", "huge"])
def test_program_maps_pieces_as_one_range(board, exporter, pages):
    """Pieces in any order are one range for the CPU, right across each of their borders."""
    board.run("cpu_order", pages=pages)


def composes_with_the_cpu(device: Device) -> bool:
    """A display whose frames its driver composes with the CPU, and tells the CRC of."""
    return device.imports and device.crc and device.driver == "vkms"


@pytest.mark.requirement("CPU-2")
@pytest.mark.case("render_shown")
@pytest.mark.over(exporter="udmabuf exporter", display=composes_with_the_cpu)
@pytest.mark.parametrize("pages", ["small", "huge"])
def test_display_shows_pieces_as_one_range(board, exporter, display, pages, expect, request):
    """A DRM driver that reads a scattered buffer with the CPU shows it as it shows its own."""
    expect.sharing(exporter, display)
    huge = pages == "huge"
    with expect.wrong_vmap_of_huge_pages(request, importer=display, shown=huge):
        result = board.run(
            "render_shown", gpu="udmabuf:huge" if huge else exporter, display=display
        )
    control(
        result.counter("dma_buf_vmap", phase="first"),
        f"{display.id} asked for no range of kernel addresses, so what it shows proves nothing",
    )


@pytest.mark.requirement("CPU-4")
@pytest.mark.case("cpu_first")
@pytest.mark.over(exporter="udmabuf exporter")
def test_first_cpu_access_maps_once(board, exporter):
    """udmabuf maps for its own device at the first access, keeps it, and lets go at release."""
    # begin_cpu_udmabuf() and release_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 6.12 to 7.3).
    result = board.run("cpu_first", exporter=exporter)
    seen = {
        phase: tuple(result.counter(name, phase=phase) for name in ("dma_map_sg", "dma_unmap_sg"))
        for phase in ("first", "later", "release")
    }
    control(seen["first"][0], "the first access mapped nothing, so none later proves nothing")
    assert seen == {"first": (1, 0), "later": (0, 0), "release": (0, 1)}, "maps and unmaps"


def snoops(importer: Device, board) -> bool:
    """Whether an importer's DMA snoops the CPU's caches, as far as its kernel knows.

    Devices that no bus describes (vivid, vgem and vkms, which their drivers make: platform devices,
    the latter two faux devices in 7.x) do not on arm64: nothing sets dma_coherent
    (arch/arm64/mm/dma-mapping.c).
    """
    if importer.coherent is not None:
        return importer.coherent
    described = importer.driver in ("refdev", "cirrus", "bochs-drm", "virtio_gpu")
    return described and "coherent" in board.type.features


def syncs_per_attachment(importer: Device, board, expect) -> int:
    """Calls of dma_sync_sg_for_cpu that reach the DMA API for one mapped attachment.

    Kernels that leave them out do so for devices that snoop, where the driver has set a DMA mask.
    What is bounced needs them again (dma_reset_need_sync()), and with DMA_API_DEBUG none is left
    out (dma_dev_need_sync(), include/linux/dma-mapping.h).
    """
    if "dma_api_debug" in board.profile.features:
        return 1
    sets_mask = not expect.behaves("sets_no_dma_mask", importer.driver)
    left_out = expect.behaves("skips_needless_syncs", importer.driver) and sets_mask
    bounces = "bounces" in board.type.features and not importer.iommu
    return 0 if snoops(importer, board) and left_out and not bounces else 1


@pytest.mark.requirement("CPU-5")
@pytest.mark.case("cpu_sync", "cpu_first")
@pytest.mark.over(exporter="heap exporter", importer="importer dma single")
@pytest.mark.parametrize("imports", [1, 3])
def test_sync_reaches_each_mapped_attachment(
    board, exporter, importer, imports, expect, sync_control
):
    """SYNC START of a heap's buffer is for every device that has it mapped, and for no other."""
    expected = expect.sharing(exporter, importer)
    if not expected.maps or importer.kind == "v4l2":
        pytest.skip(f"{importer.id} cannot have a buffer mapped more than once on {board.kernel}")
    result = board.run("cpu_sync", exporter=exporter, importer=importer, imports=imports)
    control(result.counter("dma_map_sg", phase="imports") == imports, "not all of them mapped")
    each = syncs_per_attachment(importer, board, expect)
    phases = ("before", "mapped", "after")
    counted = [result.counter("dma_sync_sg_for_cpu", phase) for phase in phases]
    assert counted == [0, imports * each, 0], (
        f"syncs with 0, {imports} and 0 attachments of {importer.id}, each of which has {each}"
    )
    if not each:
        sync_control()


UNSYNCED = (
    "without SYNC nothing copies what the device wrote from the bounce buffer, or invalidates the "
    "CPU's caches where the device does not snoop: a program that leaves it out reads old data"
)
BOUNCE_UNSYNCED = (
    "SYNC is the exporter's to answer, and none but the heaps syncs its importers' maps: udmabuf's "
    "begin_cpu_access() is for its own device, GEM objects and vb2-vmalloc have none, so what was "
    "bounced is never copied (drivers/dma-buf/udmabuf.c, drivers/gpu/drm/drm_prime.c)"
)


def bounced(exporter: Device, importer: Device, board) -> bool:
    """Whether what a device reads and writes is a copy, since its own reach ends below memory."""
    beyond = not exporter.contiguous and exporter.driver not in ("cma_heap", "bochs-drm")
    return beyond and "bounces" in board.type.features and not importer.iommu


@pytest.mark.requirement("CPU-6", "CPU-8")
@pytest.mark.case("device_view")
@pytest.mark.over(exporter="exporter", importer="refdev importer")
def test_device_and_program_see_the_same(board, exporter, importer, expect, request):
    """What is written through the dma-buf's mapping the device reads, and back, within SYNC."""
    expect.sharing(exporter, importer)
    lost = bounced(exporter, importer, board) and exporter.kind != "heap"
    with known_failure(request, BOUNCE_UNSYNCED, r"with SYNC byte \d+ of", when=lost):
        board.run("device_view", exporter=exporter, importer=importer)


@pytest.mark.requirement("CPU-6")
@pytest.mark.case("device_view", "cpu_first")
@pytest.mark.over(exporter="heap exporter", importer="refdev importer")
def test_leaving_sync_out_is_a_known_gap(board, exporter, importer, expect, sync_control, request):
    """Without SYNC a program sees what a device that snoops wrote; else it may see old data."""
    # The emulator has no caches, so a virtual board that does not snoop cannot show it: there the
    # data is right, and what is tested is that nothing made it so. One that bounces does show it.
    expect.sharing(exporter, importer)
    uncached = board.type.virtual is not None and "noncoherent" in board.type.features
    gap = not snoops(importer, board) and not uncached
    gap = gap or bounced(exporter, importer, board)
    bracketed = board.run("device_view", exporter=exporter, importer=importer)
    with known_failure(request, UNSYNCED, r"without SYNC byte \d+ of", when=gap):
        result = board.run("device_view", exporter=exporter, importer=importer, sync="no")
    assert result.counter("dma_sync_sg_for_cpu", phase="read") == 0
    if snoops(importer, board):
        sync_control()
    else:
        control(
            bracketed.counter("dma_sync_sg_for_cpu", phase="read"),
            "nor did it sync when it was asked to",
        )


@pytest.mark.requirement("CPU-8")
@pytest.mark.case("capture_view")
@pytest.mark.over(device="v4l2 importer exporter")
def test_captured_frame_is_in_the_dma_buf(board, device):
    """A capture device's own buffer shows one content, mapped from it or from its dma-buf."""
    board.run("capture_view", device=device)
