"""Video buffers, ``drivers/media/common/videobuf2`` and ``v4l2-core`` (6.12).

A buffer that user space queues (qbuf) goes to the driver once a stream is on (buf_queue), comes
back from it (buf_done) and is taken by user space (dqbuf).
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = tuple(
    Counter(
        Metric(f"vb2_{event}", "count", Better.NEITHER, "videobuf2-core.c"),
        (f"tp:vb2:vb2_{event}",),
        "videobuf2-common loaded before the session begins",
    )
    for event in ("qbuf", "buf_queue", "buf_done", "dqbuf")
)
