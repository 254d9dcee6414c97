"""What a benchmark found, and how it is kept: figures, ratios, and the machine that gave them."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from farm import __version__

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: the median of ``values`` in ``unit``, and where it helps their tail."""

    name: str
    value: float
    unit: str
    values: int = 1
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How two figures compare: ``value`` is the first over the second."""

    name: str
    of: str
    to: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is as wanted."""
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def wanted(self) -> str:
        """What it should be, in words; empty where nothing is asked for."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"


@dataclass(slots=True)
class Part:
    """What one benchmark found; ``notes`` say what is not alike everywhere."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, values: Sequence[float], unit: str, *, tail: bool = False) -> Figure:
        """Keep the median of values, and with ``tail`` their 99th percentile."""
        p99 = percentile(values, 99) if tail else None
        figure = Figure(name, median(values), unit, len(values), p99)
        self.figures.append(figure)
        return figure

    def compare(
        self,
        name: str,
        of: Figure,
        to: Figure,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Keep the ratio of two figures of one unit."""
        value = of.value / to.value
        self.ratios.append(Ratio(name, of.name, to.name, value, at_least, at_most))


@dataclass(frozen=True, slots=True)
class Bench:
    """What every benchmark is given: how much to do, a scratch folder, whom to tell."""

    folder: Path
    quick: bool
    say: Callable[[str], None]

    def times(self, full: int, quick: int) -> int:
        """Return how often to do something."""
        return quick if self.quick else full


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    qemu = _said("qemu-system-aarch64", "--version").partition("\n")[0]
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory[1]) // 1024 if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "qemu": qemu.removeprefix("QEMU emulator version "),
        "load": round(os.getloadavg()[0], 2),
    }


def as_object(
    parts: Iterable[Part], *, quick: bool, began: str, where: dict[str, Any]
) -> dict[str, Any]:
    """Return everything as one object for JSON; ``where`` is the :func:`machine` as it began."""
    git = ("git", "-C", str(Path(__file__).parent))
    changed = _said(*git, "status", "--porcelain", "--untracked-files=no")
    return {
        "schema": SCHEMA,
        "began": began,
        "quick": quick,
        "commit": _said(*git, "rev-parse", "HEAD") + ("+" if changed else ""),
        "farm_version": __version__,
        "machine": where,
        "benchmarks": [
            {
                "name": part.name,
                "figures": [asdict(figure) for figure in part.figures],
                "ratios": [{**asdict(ratio), "met": ratio.met} for ratio in part.ratios],
                "notes": part.notes,
            }
            for part in parts
        ],
    }


def save(body: dict[str, Any], folder: Path) -> Path:
    """Write the object into a file of its own, named by its date; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{body['began'].replace(':', '')}.json"
    path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return path


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
