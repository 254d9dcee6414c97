"""Processes of a virtual lab: named so that no other can be hit, and waited for by event."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import NoReturn

from farm.lab.files import Process
from farm.lab.records import start_time


def identify(role: str, pid: int) -> Process:
    """Return how a running process is recorded."""
    return Process(role=role, pid=pid, started=start_time(pid))


def alive(process: Process) -> bool:
    """Return whether this very process still runs; a pid that was reused does not count."""
    return process.started >= 0 and start_time(process.pid) == process.started


def end(process: Process, number: signal.Signals, timeout_s: float) -> bool:
    """Signal a process if it is still the one recorded, and return whether it is gone in time.

    The signal goes through a pidfd that is opened before the start time is compared, so it can
    reach no other process.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not alive(process):
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def leave(code: int) -> NoReturn:
    """End this process now, with all it has said on its way, and wait for no thread of it.

    For processes that others wait for: a thread that is still in grpc has kept the interpreter
    from ending when everything was done.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
