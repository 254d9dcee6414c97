"""What every test shares."""

from __future__ import annotations

import gc
import os
import signal

import hypothesis
import pytest

from farm import paths

LIMIT_S = 600
"""How long a test may take that says nothing else."""

# labgrid's log of serial lines takes a second console in one process amiss, if that one is silent:
# SerialLoggingReporter.flush looks up a buffer that only the first line makes. Which tests share
# a process is chance.
_SECOND_CONSOLE = "ignore:unhandled exception during event notification. RecordedSerialDriver"

# Tests that have a cache folder of their own still share the compiler's: its C library takes half
# a minute to build, and is the same for all.
os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(paths.cache_dir() / "zig"))

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# A shell without job control has what it starts with "&" ignore Ctrl-C, and so would all that the
# tests start and end with it; a handler, unlike a signal that is ignored, is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("filterwarnings", _SECOND_CONSOLE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("first") is None)  # the others keep theirs
    if config.getoption("timeout") is None:
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LIMIT_S))


def pytest_collection_finish() -> None:
    """Look for no garbage among what is loaded: it stays, and each look at it takes long."""
    gc.collect()
    gc.freeze()
