"""A benchmark in a process of its own: labgrid keeps one coordinator's session per process."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.results import Bench, Part


def in_a_process(name: str, *, quick: bool) -> Part:
    """Return what the benchmark of that name finds.

    Raises:
        FarmError: it failed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_measure, name, quick).result()


def _measure(name: str, quick: bool) -> Part:
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        bench = Bench(Path(folder), quick, say)
        part: Part = importlib.import_module(f"benchmarks.{name}").measure(bench)
        return part


def say(text: str) -> None:
    """Tell what goes on."""
    print(text, file=sys.stderr, flush=True)
