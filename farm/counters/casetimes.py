"""Times that cases take themselves, around single system calls; none is asked for."""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = tuple(
    Counter(Metric(name, "ns", Better.LOWER, source))
    for name, source in (
        ("import_time", "DRM_IOCTL_PRIME_FD_TO_HANDLE, or what other importers have for it"),
        ("close_time", "an importer letting go of a buffer: DRM_IOCTL_GEM_CLOSE"),
        ("start_time", "starting one frame on a buffer that the device has"),
        ("sync_start", "DMA_BUF_IOCTL_SYNC with START while a fence is pending"),
        ("sync_start_idle", "DMA_BUF_IOCTL_SYNC with START and nothing attached"),
        ("wake_latency", "from the fence's signal to the return of DMA_BUF_IOCTL_SYNC"),
        ("poll_wake", "from a device's start to the return of poll on the buffer"),
    )
)
