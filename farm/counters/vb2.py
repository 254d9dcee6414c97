"""Video buffers, ``drivers/media/common/videobuf2`` and ``v4l2-core`` (6.12).

A buffer that user space queues (qbuf) goes to the driver once a stream is on (buf_queue), comes
back from it (buf_done) and is taken by user space (dqbuf). ``v4l2_qbuf`` and ``v4l2_dqbuf`` are
the same system calls as the V4L2 core saw them succeed, also of drivers that do without videobuf2;
``v4l2:vb2_v4l2_*`` are videobuf2's events a second time, so they are not counted.
"""

from __future__ import annotations

from farm.counters.registry import Counter
from farm.model import Better, Metric

COUNTERS: tuple[Counter, ...] = (
    *(
        Counter(
            Metric(f"vb2_{event}", "count", Better.NEITHER, "videobuf2-core.c"),
            (f"tp:vb2:vb2_{event}",),
            "videobuf2-common loaded before the session begins",
        )
        for event in ("qbuf", "buf_queue", "buf_done", "dqbuf")
    ),
    *(
        Counter(
            Metric(f"v4l2_{event}", "count", Better.NEITHER, "v4l2-ioctl.c, video_usercopy()"),
            (f"tp:v4l2:v4l2_{event}",),
            "videodev loaded before the session begins",
        )
        for event in ("qbuf", "dqbuf")
    ),
)
