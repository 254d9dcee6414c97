"""Sharing under stress: buffers come and go on all devices at once, by decisions of a seed."""

import pytest

from farm.pytest_plugin.api import control

IN_NO_STREAM = ("drm", "refdev", "v4l2")
"""Importers that take a buffer by itself; a memory-to-memory device wants a format first."""


def addresses(devices) -> str:
    """Return the devices' addresses as the case takes them."""
    return "+".join(device.address for device in devices)


BUFFERS = 32
"""That each pair has by itself: of what it loses each time, twice what is allowed."""


def leaky_pairs(exporters, importers, expect) -> str:
    """Return the pairs with which this kernel is known to lose buffers, as the case takes them."""
    pairs = ((exporter, importer) for exporter in exporters for importer in importers)
    known = ((*pair, expect.find(*pair)) for pair in pairs)
    lost = [f"{one.address}>{other.address}" for one, other, row in known if row and row.leak]
    return "+".join(lost) or "none"


@pytest.mark.long
@pytest.mark.requirement("SHR-8")
@pytest.mark.case("share_churn")
def test_sharing_churn_leaks_nothing(board, expect, stress):
    """Threads share at random, then each pair alone; objects, files, slab and CMA are back."""
    if "debugfs" not in board.type.features | board.profile.features:
        pytest.skip(f"{board.type.name} declares no debugfs, so what is left cannot be seen")
    importers = [one for one in board.devices if one.imports and one.kind in IN_NO_STREAM]
    exporters = [one for one in board.devices if one.exports and one.kind != "m2m"]
    if not exporters or not importers:
        pytest.skip(f"{board.type.name} declares nothing to share without a queue")
    result = board.run(
        "share_churn",
        exporters=addresses(exporters),
        importers=addresses(importers),
        but=leaky_pairs(exporters, importers, expect),
        times=BUFFERS * len(importers),
        **stress.arguments,
    )
    control(int(result.info["imports"]), "no import succeeded")
    one_each = {"exporters": exporters[0].address, "importers": importers[0].address}
    brief = {**one_each, **stress.arguments, "ms": 1, "settle_ms": 300}
    leaky = board.run("share_churn", check=False, leak=1, **brief)
    control(
        leaky.outcome != "pass" and "dma-bufs of" in leaky.reason,
        f"a buffer that was kept on purpose was not missed: {leaky.outcome} {leaky.reason}",
    )
    if result.info["slab"] != "told":  # no turns, then: little stress may have shared nothing
        attached = result.counter("dma_buf_attach", phase="churn")
        control(attached, "nothing was attached, so nothing can be left")
    else:
        # At most 1152 files for 192 operations; the payload may have 4096 (runner.c), and has one
        # for each cache.
        for lost, where in (
            ({"keep_files": 6, "rounds": 32}, "operations"),
            ({"keep_in_turns": 1, "times": BUFFERS}, "turns of pairs"),
        ):
            kept = board.run("share_churn", check=False, **lost, **brief)
            control(
                kept.outcome != "pass" and "slab cache" in kept.reason and where in kept.reason,
                f"files kept on purpose were not missed: {kept.outcome} {kept.reason}",
            )
