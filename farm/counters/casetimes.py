"""What cases measure themselves, mostly times around single system calls; none is asked for."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

_TIMES = (
    ("import_time", "DRM_IOCTL_PRIME_FD_TO_HANDLE, or what other importers have for it"),
    ("close_time", "an importer letting go of a buffer: DRM_IOCTL_GEM_CLOSE"),
    ("map_time", "an import of which the map is the most: what import_time is, after warming up"),
    ("unmap_time", "letting go of a buffer of which the unmap is the most"),
    ("map_time_per_mib", "map_time's median, divided by the buffer's size in MiB"),
    ("unmap_time_per_mib", "unmap_time's median, divided by the buffer's size in MiB"),
    ("start_time", "starting one frame on a buffer that the device has"),
    ("queue_time_p50", "VIDIOC_QBUF of a frame's buffer, median"),
    ("queue_time_max", "VIDIOC_QBUF of a frame's buffer, the longest"),
    ("frame_cpu_time", "processor time per frame, of all processors: 10 ms ticks of /proc/stat"),
    ("sync_start", "DMA_BUF_IOCTL_SYNC with START while a fence is pending"),
    ("sync_idle", "DMA_BUF_IOCTL_SYNC with START and with END, no fence pending"),
    ("clock_step", "the clock's smallest step, or what reading it costs"),
    ("wake_latency", "from the fence's signal to the return of DMA_BUF_IOCTL_SYNC"),
    ("poll_wake", "from a device's start to the return of poll on the buffer"),
)

_SIZES = (
    ("operations", "op/s", Better.HIGHER, "what a stress case did in its time"),
    ("frames_torn", "{permille}", Better.NEITHER, "frames read while they were written"),
    ("frames_lost", "{permille}", Better.NEITHER, "frames that nobody read"),
    (
        "slab_growth",
        "B/op",
        Better.LOWER,
        "/proc/slabinfo, all caches, its second half",
    ),
    ("pair_buffers", "count", Better.HIGHER, "32, where the board is quick enough"),
    ("lock_backoffs", "{permille}", Better.NEITHER, "locks let go of for an older ww ticket"),
    ("runs_per_mib", "count", Better.NEITHER, "physically contiguous runs, as constructed"),
    ("wake_quantile", "ns", Better.NEITHER, "the distribution of wake_latency, p0 to p100"),
    ("fence_expiry", "ns", Better.NEITHER, "VGEM_FENCE_TIMEOUT, drivers/gpu/drm/vgem/vgem_fence.c"),
    ("frame_rate", "Hz", Better.HIGHER, "frames a second through an encoder and a decoder"),
    (
        "psnr",
        "dB",
        Better.HIGHER,
        "the worst frame after encoding and decoding, against the original",
    ),
    ("coded_size", "B", Better.LOWER, "the smallest coded frame"),
    ("dma_segments", "count", Better.LOWER, "full_ents of dma:dma_map_sg"),
    ("dma_segment_max", "B", Better.HIGHER, "the largest of the sizes that dma:dma_map_sg lists"),
)

COUNTERS: tuple[Counter, ...] = (
    *(Counter(Metric(name, "ns", Better.LOWER, source)) for name, source in _TIMES),
    *(Counter(Metric(*metric)) for metric in _SIZES),
)
