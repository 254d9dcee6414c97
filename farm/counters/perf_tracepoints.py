"""DMA mappings, IOMMU mappings and fences, counted by perf on kernel tracepoints and kprobes.

perf drops an event record over 8 KiB before it counts it, and the ``dma`` tracepoints of
scatterlists carry arrays of any length: maps, unmaps and syncs are counted by kprobe, which counts
those that failed as well. Maps alone have a second way where a kernel has no kprobes: their
tracepoint, if it cuts its arrays (7.0, 6.12.107, not 6.16.12); the payload refuses to count what
may be dropped (``counter_tracepoint.c``).

The kernel's stub fences are not counted: they are signalled from the start, all have context 0, and
one of them is made when first needed and never destroyed (``dma_fence_get_stub``, 6.12).
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

_DMA = "kernel/dma/mapping.c"
_BUF = "drivers/dma-buf/dma-buf.c"
_IOMMU = "drivers/iommu/iommu.c"
_FENCE = "drivers/dma-buf/dma-fence.c"
_NEEDS = {
    "tp": "tracefs and the tracepoint",
    "kprobe": "CONFIG_KPROBE_EVENTS and the function",
}


def _count(name: str, source: str, *specs: str, better: Better = Better.LOWER) -> Counter:
    kinds = dict.fromkeys(_NEEDS[spec.partition(":")[0]] for spec in specs)
    return Counter(Metric(name, "count", better, source), specs, "; or ".join(kinds))


COUNTERS: tuple[Counter, ...] = (
    _count("dma_map_sg", _DMA, "kprobe:__dma_map_sg_attrs", "tp:dma:dma_map_sg"),
    _count("dma_unmap_sg", _DMA, "kprobe:dma_unmap_sg_attrs"),
    _count(
        "dma_sync_sg_for_cpu",
        _DMA,
        "kprobe:__dma_sync_sg_for_cpu",
        "kprobe:dma_sync_sg_for_cpu",
    ),
    _count("dma_buf_attach", _BUF, "kprobe:dma_buf_dynamic_attach"),
    _count("dma_buf_detach", _BUF, "kprobe:dma_buf_detach"),
    _count("dma_buf_vmap", _BUF, "kprobe:dma_buf_vmap"),
    _count("dma_buf_vunmap", _BUF, "kprobe:dma_buf_vunmap"),
    _count("iommu_map", _IOMMU, "tp:iommu:map"),
    _count("iommu_unmap", _IOMMU, "tp:iommu:unmap"),
    *(
        _count(
            f"dma_fence_{event}",
            _FENCE,
            f"tp:dma_fence:dma_fence_{event}?context!=0",
            better=Better.NEITHER,
        )
        for event in (
            "init",
            "emit",
            "enable_signal",
            "signaled",
            "destroy",
            "wait_start",
            "wait_end",
        )
    ),
)
