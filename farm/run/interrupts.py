"""Keeping a Ctrl-C out of the few lines that must not be torn."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put SIGINT off until the block is over.

    Python runs signal handlers in the main thread only, so in another thread there is nothing to
    put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[FrameType | None] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if waiting and callable(usual):
            usual(signal.SIGINT, waiting[0])
