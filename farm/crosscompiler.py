"""The pinned cross compiler, ``zig cc`` of the Python package ziglang, and where it caches."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping

from farm import paths
from farm.errors import UsageError

COMMAND = (sys.executable, "-m", "ziglang", "cc")
"""What runs the compiler; its arguments follow."""


def version(what: str) -> str:
    """Return the compiler's name and version; ``what`` is what needs it, for messages.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return f"ziglang {importlib.metadata.version('ziglang')}"
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            f"{what} a compiler: the Python package ziglang is not installed",
            next_step="run make setup, or install this project's dependencies with pip",
        ) from None


def caches() -> Mapping[str, str]:
    """Return the variables that say where the compiler caches its C library and objects.

    That is in our cache, unless its own ``ZIG_GLOBAL_CACHE_DIR`` says where to share one.
    """
    folder = paths.cache_dir() / "zig"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        os.utime(folder)  # what was used least goes first
    zig = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(folder)
    return {"ZIG_GLOBAL_CACHE_DIR": zig, "ZIG_LOCAL_CACHE_DIR": zig}
