"""Constraints: an allocator that suits every device is found by trial, in any order."""

from collections.abc import Sequence

import pytest

from farm.pytest_plugin.api import Device, control
from farm.pytest_plugin.expectations import Outcome

ORDERS = {1: 1, 2: 2, 3: 6, 4: 24}
"""Orders of so many importers."""


def askable(board) -> list[Device]:
    """Importers of one buffer at a time: not those that want two for a frame."""
    return [one for one in board.devices if one.imports and one.kind != "m2m"]


def outcome_of(expect, exporter: Device, importer: Device, board) -> Outcome:
    """What is expected of a pair, for a buffer of 1 MiB; of one that nobody saw, nothing."""
    expected = expect.find(exporter, importer)
    bounced = "bounces" in board.type.features and importer.kind == "refdev"
    return Outcome.EITHER if expected is None or bounced else expected.outcome


def sure(board, expect, exporters: Sequence[Device], importers: Sequence[Device]) -> list[Device]:
    """Exporters whose buffer every importer is sure to take, or sure to refuse: at most six.

    Those of which the kernel is known to lose a buffer (SHR-3 shows it) are left out.
    """

    def is_sure(exporter: Device, importer: Device) -> bool:
        known = outcome_of(expect, exporter, importer, board) is not Outcome.EITHER
        return known and not expect.of_import(exporter, importer).leak

    known = [
        exporter
        for exporter in exporters
        if exporter.exports and all(is_sure(exporter, one) for one in importers)
    ]
    return known[:6]


def suits(expect, exporter: Device, importers: Sequence[Device], board) -> bool:
    """Whether all importers are expected to take it."""
    return all(outcome_of(expect, exporter, one, board) is Outcome.SHARED for one in importers)


def run_orders(board, exporters: Sequence[Device], importers: Sequence[Device]):
    """Try all orders of the importers; nothing may stay mapped, nor attached (bufinfo says).

    Calls of dma_buf_detach() are fewer than of attach where an exporter refuses to be attached.
    """
    counted = "debugfs" in board.type.features | board.profile.features
    result = board.run(
        "find_allocator",
        exporters=";".join(one.address for one in exporters),
        importers=";".join(one.address for one in importers),
        counted=counted,
    )
    if counted:
        control(int(result.info["most_attached"]), "bufinfo never told of an attachment")
    assert int(result.info["orders"]) == ORDERS[len(importers)]
    maps = result.counter("dma_map_sg", phase="orders")
    control(maps, "nothing was mapped, so nothing can be left")
    assert result.counter("dma_unmap_sg", phase="orders") == maps
    return result


@pytest.mark.requirement("CON-6")
@pytest.mark.case("find_allocator")
@pytest.mark.over(importer="v4l2 importer contiguous")
def test_allocator_for_all_is_found_in_any_order(board, importer, expect):
    """Whoever is asked first, one exporter's buffer suits a contiguous-only device and others."""
    others = [
        one for one in askable(board) if one != importer and suits(expect, importer, [one], board)
    ]
    mapping = [one for one in others if expect.of_import(importer, one).maps]
    rest = [one for one in others if one not in mapping]
    importers = [*(mapping + rest)[:2], importer, *(mapping + rest)[2:3]]
    exporters = sure(board, expect, board.devices, importers)
    fitting = [one for one in exporters if suits(expect, one, importers, board)]
    control(fitting, f"of {[one.id for one in exporters]} none suits all of {importers}")
    if fitting[0] == exporters[0]:
        pytest.skip(f"no exporter is sure to be refused, and {fitting[0].id} suits all at once")
    result = run_orders(board, exporters, importers)
    assert result.info["chosen"] == fitting[0].address
    assert int(result.info["failed"]) == ORDERS[len(importers)] * exporters.index(fitting[0])


@pytest.mark.requirement("CON-6")
@pytest.mark.case("find_allocator")
def test_no_allocator_is_found_in_any_order(board, expect):
    """Where one importer refuses them all, none is found, and all that was tried is given back."""
    importers = askable(board)

    def refuses_all(importer: Device) -> bool:
        others = [one for one in board.devices if one.exports and one != importer]
        return all(outcome_of(expect, one, importer, board) is Outcome.REFUSED for one in others)

    refusing = next((one for one in importers if refuses_all(one)), None)
    if refusing is None:
        pytest.skip(f"every importer takes some exporter's buffers on Linux {board.kernel}")
    others = [one for one in board.devices if one.exports and one != refusing]
    mapping = [
        one
        for one in importers
        if one != refusing
        and any(row and row.maps for row in (expect.find(other, one) for other in others))
    ]
    chosen = [refusing, *mapping[:2]]
    result = run_orders(board, sure(board, expect, others, chosen), chosen)
    assert result.info["chosen"] == "none"
