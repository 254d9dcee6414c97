"""Sharing under stress: buffers come and go on all devices at once, by decisions of a seed."""

import pytest

from farm.pytest_plugin.api import control

IN_NO_STREAM = ("drm", "refdev", "v4l2")
"""Importers that take a buffer by itself; a memory-to-memory device wants a format first."""


def addresses(devices) -> str:
    """Return the devices' addresses as the case takes them."""
    return "+".join(device.address for device in devices)


def is_lost(exporter, importers, expect):
    """Whether this kernel is known to lose an exporter's buffers, so that they cannot be back."""
    rows = (expect.find(exporter, importer) for importer in importers)
    return any(row is not None and row.leak for row in rows)


@pytest.mark.requirement("SHR-8")
@pytest.mark.case("share_churn")
def test_sharing_churn_leaks_nothing(board, expect, stress):
    """Threads share at random, then each device alone; objects, files, slab and CMA are back."""
    if "debugfs" not in board.type.features | board.profile.features:
        pytest.skip(f"{board.type.name} declares no debugfs, so what is left cannot be seen")
    importers = [one for one in board.devices if one.imports and one.kind in IN_NO_STREAM]
    exporters = [
        one
        for one in board.devices
        if one.exports and one.kind != "m2m" and not is_lost(one, importers, expect)
    ]
    if not exporters or not importers:
        pytest.skip(f"{board.type.name} declares nothing to share without a queue")
    devices = {"exporters": addresses(exporters), "importers": addresses(importers)}
    result = board.run("share_churn", **devices, **stress.arguments)
    control(int(result.info["imports"]), "no import succeeded")
    attached = result.counter("dma_buf_attach", phase="churn")
    control(attached, "nothing was attached, so nothing can be left")
    one_each = {"exporters": exporters[0].address, "importers": importers[0].address}
    brief = {**one_each, **stress.arguments, "ms": 1, "settle_ms": 300}
    leaky = board.run("share_churn", check=False, leak=1, **brief)
    control(
        leaky.outcome != "pass" and "dma-bufs of" in leaky.reason,
        f"a buffer that was kept on purpose was not missed: {leaky.outcome} {leaky.reason}",
    )
    if result.info["slab"] == "told":
        # At most 3072 files for 512 operations, of the 4096 that the payload may have (runner.c).
        kept = board.run("share_churn", check=False, keep_files=6, rounds=128, **brief)
        control(
            kept.outcome != "pass" and "slab cache" in kept.reason,
            f"files kept by each operation were not missed: {kept.outcome} {kept.reason}",
        )
