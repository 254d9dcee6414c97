"""All counters there are: every module of this folder, and what other packages add.

A counter module has ``COUNTERS``, a tuple of :class:`Counter`. A module of this folder is found by
being there; another package adds one with an entry point of group ``farm`` whose name starts with
``counters.``. A module that fails to import is an error.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from farm import counters
from farm.errors import ConfigError
from farm.model import Metric
from farm.yamlfile import nearest

SPEC = re.compile(
    r"tp:[a-z0-9_]+:[a-z0-9_]+(?:\?[!-~]{1,60})?|kprobe:[A-Za-z0-9_.]+|(?:sw|hw|cache):\d+"
    r"|pmu:[A-Za-z0-9_.*?\-]+:[A-Za-z0-9_.\-]+|irq:[A-Za-z0-9_.\-]+|irqs:devices"
    r"|(?:level|change):[A-Za-z%]{1,31}:[0-9.eE\-]{1,20}:/[!-~]{1,200}"
    r"|bufinfo:(?:objects|bytes)|balance:[a-z0-9_]+-[a-z0-9_]+"
)
"""What a counter may ask of the payload: each form is one of its sources (``counter_*.c``)."""

VARIABLE = "FARM_COUNTERS"
"""Names of the only counters to open, with commas between; for measuring what the others cost."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NOT_COUNTERS = frozenset({"registry"})


@dataclass(frozen=True, slots=True)
class Counter:
    """A metric that the payload samples around every case and window.

    ``specs`` are the ways to count it, best first; the next is tried where the board cannot give
    the one before. None at all means that the payload samples it without being asked. ``needs``
    says what a board must have, so when there is none of it. Where it counts several things, each
    sample's parameter ``of`` names one.
    """

    metric: Metric
    specs: tuple[str, ...] = ()
    needs: str = ""

    @property
    def leak(self) -> bool:
        """Whether more of it after a case than before fails the case."""
        return any(spec.startswith(("bufinfo:", "balance:")) for spec in self.specs)

    @property
    def whole_case(self) -> bool:
        """Whether it is read around cases only, and not around their windows."""
        only = ("bufinfo:", "balance:", "level:", "change:", "irqs:")
        return any(spec.startswith(only) for spec in self.specs)

    @property
    def name(self) -> str:
        """The metric's name, under which samples of it come."""
        return self.metric.name


@cache
def registry() -> dict[str, Counter]:
    """Return all counters by name.

    Raises:
        ConfigError: a module cannot be imported, holds something else, or a name comes twice.
    """
    names = [
        f"{counters.__name__}.{module.name}"
        for module in pkgutil.iter_modules(counters.__path__)
        if module.name not in _NOT_COUNTERS
    ]
    added = [entry for entry in entry_points(group="farm") if entry.name.startswith("counters.")]
    return collect(names, added)


def chosen() -> tuple[Counter, ...]:
    """Return the counters that are to be opened: all, or those that ``FARM_COUNTERS`` names.

    Raises:
        ConfigError: see :func:`registry`; or a name in the variable is no counter's.
    """
    found = registry()
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return tuple(found.values())
    names = [name for name in asked.split(",") if name]
    for name in names:
        if name not in found:
            raise ConfigError(f"{VARIABLE}:0: unknown counter '{name}'{nearest(name, set(found))}")
    return tuple(counter for name, counter in found.items() if name in names)


def collect(modules: Iterable[str], added: Iterable[EntryPoint] = ()) -> dict[str, Counter]:
    """Return the counters of the named modules and entry points, those made of others last.

    Raises:
        ConfigError: see :func:`registry`.
    """
    sources = [*modules, *(entry.module for entry in added)]
    found: dict[str, Counter] = {}
    for source in sources:
        for counter in _load(source):
            if counter.name in found:
                raise ConfigError(f"{source}:0: counter {counter.name!r} exists already")
            found[counter.name] = counter
    return dict(sorted(found.items(), key=lambda item: item[1].leak))


def _load(source: str) -> tuple[Counter, ...]:
    try:
        module = importlib.import_module(source)
    except Exception as error:
        raise ConfigError(
            f"{source}:0: counters cannot be imported: {type(error).__name__}: {error}"
        ) from error
    offered = getattr(module, "COUNTERS", None)
    if not isinstance(offered, tuple) or not all(isinstance(one, Counter) for one in offered):
        raise ConfigError(f"{source}:0: COUNTERS is {offered!r}, expected a tuple of Counter")
    for counter in offered:
        bad = [spec for spec in counter.specs if not SPEC.fullmatch(spec)]
        if bad or not _NAME.fullmatch(counter.name):
            raise ConfigError(f"{source}:0: counter {counter.name!r}: bad {bad or 'name'}")
    return offered
