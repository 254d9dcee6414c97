"""What a pair of drivers is expected to do on which kernels, and why: ``expectations.yaml``.

The kernel decides whether an import is carried or refused, and it changed its mind more than once.
So an expectation is a row: exporter's driver, importer's driver, kernel range, outcome, and the
reason with its place in the kernel's source. The first row that fits a pair counts, as in a packet
filter. A pair that no row fits has no expectation: what it does is NEW, and can be accepted
(:mod:`farm.pytest_plugin.acceptance`).

What else a driver does on some kernels and not on others is a behaviour: a name, a driver, a kernel
range and the reason. A test asks for it by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from errno import errorcode
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from farm import paths
from farm.declarations import check_features
from farm.errors import ConfigError, NoExpectation
from farm.model import Device
from farm.yamlfile import YamlFile, nearest

FILE_NAME = "expectations.yaml"
ANY = "*"
OWN = "own"
"""In place of an exporter's driver: the importer itself."""

BOUNCES = "bounces"
"""The feature of boards on which what becomes of an import depends on the allocator."""

_BOUND = re.compile(r"(>=|<)(\d{1,3})\.(\d{1,3})")


class Kernel(Protocol):
    """What a kernel release has to answer."""

    def at_least(self, major: int, minor: int = 0) -> bool:
        """Return whether it is of that version or a later one."""


class Outcome(StrEnum):
    """What becomes of an import."""

    SHARED = "shared"
    REFUSED = "refused"
    EITHER = "either"  # memory that the allocator may or may not have made contiguous


class Access(StrEnum):
    """How an importer reaches memory, as the device declares it."""

    ANY = "*"
    CPU = "cpu"
    CONTIGUOUS = "contiguous"


@dataclass(frozen=True, slots=True)
class KernelRange:
    """Releases from ``since`` (inclusive) to ``before`` (exclusive); None is no bound."""

    since: tuple[int, int] | None
    before: tuple[int, int] | None

    @classmethod
    def parse(cls, text: str) -> KernelRange:
        """Read ``*``, ``>=6.12``, ``<7.2`` or ``>=6.12,<7.2``.

        Raises:
            ValueError: it is none of these, or no release can be in it.
        """
        bounds: dict[str, tuple[int, int]] = {}
        for part in [] if text == ANY else text.split(","):
            match = _BOUND.fullmatch(part.strip())
            if match is None or match[1] in bounds:
                raise ValueError("expected '*', '>=6.12', '<7.2' or '>=6.12,<7.2'")
            bounds[match[1]] = (int(match[2]), int(match[3]))
        since, before = bounds.get(">="), bounds.get("<")
        if since and before and since >= before:
            raise ValueError("no release is in this range")
        return cls(since, before)

    def __str__(self) -> str:
        """Return the range as it is written in the file."""
        bounds = ((">=", self.since), ("<", self.before))
        return ",".join(f"{sign}{one[0]}.{one[1]}" for sign, one in bounds if one) or ANY

    def contains(self, kernel: Kernel) -> bool:
        """Return whether a release is in the range."""
        if self.since and not kernel.at_least(*self.since):
            return False
        return not (self.before and kernel.at_least(*self.before))

    def covers(self, other: KernelRange) -> bool:
        """Return whether every release of ``other`` is in this range."""
        since = not self.since or (other.since is not None and other.since >= self.since)
        before = not self.before or (other.before is not None and other.before <= self.before)
        return since and before


@dataclass(frozen=True, slots=True)
class Pair:
    """An exporter and an importer, as far as expectations look at them.

    ``exporter`` and ``importer`` are drivers; ``own`` says that both are one device.
    """

    exporter: str
    importer: str
    own: bool
    cpu_only: bool
    contiguous: bool

    @classmethod
    def of(cls, exporter: Device, importer: Device) -> Pair:
        """Return the pair that two devices make."""
        own = exporter.id == importer.id
        return cls(exporter.driver, importer.driver, own, importer.cpu_only, importer.contiguous)

    @property
    def access(self) -> Access:
        """How the importer reaches memory, as a row would say it."""
        if self.cpu_only:
            return Access.CPU
        return Access.CONTIGUOUS if self.contiguous else Access.ANY


@dataclass(frozen=True, slots=True)
class Seen:
    """What one attempt to import did: ``shared``, or ``refused`` with its errno, and its calls."""

    outcome: str
    errno: str
    attaches: int
    maps: int

    def __str__(self) -> str:
        """Say it in a few words: ``refused with EINVAL (1 attach, 0 maps)``."""
        told = f"refused with {self.errno}" if self.outcome == Outcome.REFUSED else self.outcome
        return f"{told} ({_calls(self.attaches, self.maps)})"


@dataclass(frozen=True, slots=True)
class Import:
    """What one attempt to import is expected to do.

    ``errno`` is the name of a refusal's errno, else empty. ``maps`` and ``attaches`` are the calls
    of ``dma_map_sg`` and ``dma_buf_attach`` that one attempt costs, also one that is refused.
    Where it may be either, ``unmapped_errno`` is that of a refusal because mapping failed: the
    call is counted, but not by the tracepoint, which comes after it.
    ``board`` is the feature of the boards that the row is about, or empty. ``leak`` says what such
    an attempt leaves behind and where the kernel loses it, or nothing.
    """

    exporter: str
    importer: str
    access: Access
    kernel: KernelRange
    outcome: Outcome
    errno: str
    maps: int
    attaches: int
    reason: str
    line: int
    board: str = ""
    leak: str = ""
    unmapped_errno: str = ""

    def fits(self, pair: Pair) -> bool:
        """Return whether the row is about this pair."""
        if self.importer not in (ANY, pair.importer):
            return False
        if self.access is Access.CPU and not pair.cpu_only:
            return False
        if self.access is Access.CONTIGUOUS and not pair.contiguous:
            return False
        if self.exporter == OWN:
            return pair.own
        return self.exporter in (ANY, pair.exporter)

    def allows(self, outcome: str, errno: str) -> bool:
        """Return whether what was seen (``shared``, or ``refused`` with its errno) is expected."""
        if outcome == Outcome.SHARED:
            return self.outcome in (Outcome.SHARED, Outcome.EITHER)
        refusals = {self.errno, self.unmapped_errno} - {""}
        return self.outcome in (Outcome.REFUSED, Outcome.EITHER) and errno in refusals

    def met_by(self, seen: Seen) -> bool:
        """Return whether an attempt did what is expected, its calls included."""
        unmapped = seen.outcome == Outcome.REFUSED and seen.errno == self.unmapped_errno
        maps = {0, self.maps} if unmapped else {self.maps}
        calls = seen.attaches == self.attaches and seen.maps in maps
        return calls and self.allows(seen.outcome, seen.errno)

    def hides(self, other: Import) -> bool:
        """Return whether a pair that fits ``other`` always fits this row too."""
        return (
            self.exporter in (ANY, other.exporter)
            and self.importer in (ANY, other.importer)
            and self.access in (Access.ANY, other.access)
            and self.kernel.covers(other.kernel)
            and self.board in ("", other.board)
        )

    def __str__(self) -> str:
        """Say it in a few words: ``refused with EINVAL (0 attaches, 0 maps)``."""
        return f"{self.what} ({_calls(self.attaches, self.maps)})"

    @property
    def what(self) -> str:
        """What becomes of the import, without its calls: ``refused with EINVAL``."""
        unmapped = f"{self.unmapped_errno} of a failed map" if self.unmapped_errno else ""
        refused = f"refused with {' or '.join(filter(None, (self.errno, unmapped)))}"
        words = {Outcome.SHARED: "shared", Outcome.REFUSED: refused}
        return words.get(self.outcome, f"shared or {refused}")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Something that a driver does on these kernels, and not on others; ``driver`` may be any."""

    name: str
    driver: str
    kernel: KernelRange
    reason: str
    line: int


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ImportRow(_Part):
    exporter: str = ANY
    importer: str = ANY
    access: Access = Access.ANY
    kernel: str = ANY
    board: str = ""
    outcome: Outcome
    errno: str = ""
    unmapped_errno: str = ""
    maps: Annotated[int, Field(ge=0, le=1)]
    attaches: Annotated[int, Field(ge=0, le=1)]
    reason: str = Field(min_length=20)
    leak: str = ""


class _BehaviourRow(_Part):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    driver: str = ANY
    kernel: str = ANY
    reason: str = Field(min_length=20)


class _File(_Part):
    imports: list[_ImportRow] = Field(min_length=1)
    behaviours: list[_BehaviourRow] = []


@dataclass(frozen=True, slots=True)
class Expectations:
    """The table, in its order."""

    path: Path
    imports: tuple[Import, ...]
    behaviours: tuple[Behaviour, ...] = ()

    def behaves(self, name: str, driver: str, kernel: Kernel) -> Behaviour | None:
        """Return the row by which a driver does that on this kernel, None where it does not.

        Raises:
            ConfigError: no row has this name.
        """
        rows = [row for row in self.behaviours if row.name == name]
        if not rows:
            names = {row.name for row in self.behaviours}
            raise ConfigError(f"{self.path}:0: no behaviour '{name}'{nearest(name, names)}")
        return next(
            (row for row in rows if row.driver in (ANY, driver) and row.kernel.contains(kernel)),
            None,
        )

    def find(
        self, pair: Pair, kernel: Kernel, features: frozenset[str] = frozenset()
    ) -> Import | None:
        """Return the first row that fits, or None; ``features`` are the board's."""
        for row in self.imports:
            about = row.kernel.contains(kernel) and (not row.board or row.board in features)
            if about and row.fits(pair):
                return row
        return None

    def of_import(
        self,
        exporter: Device,
        importer: Device,
        kernel: Kernel,
        features: frozenset[str] = frozenset(),
    ) -> Import:
        """Return the first row that fits; ``features`` are the board's.

        Raises:
            NoExpectation: none does.
        """
        found = self.find(Pair.of(exporter, importer), kernel, features)
        if found is None:
            raise NoExpectation(f"{self._no_row(exporter, importer, kernel)}, so nothing was run")
        return found

    def judge(
        self,
        exporter: Device,
        importer: Device,
        kernel: Kernel,
        features: frozenset[str],
        seen: Seen,
    ) -> None:
        """Hold what an attempt did against what is expected of it.

        Raises:
            AssertionError: it did something else; names both.
            NoExpectation: nothing is expected of it; what was seen can be accepted.
        """
        __tracebackhide__ = True
        pair = Pair.of(exporter, importer)
        expected = self.find(pair, kernel, features)
        if expected is None:
            raise NoExpectation(
                f"{self._no_row(exporter, importer, kernel)}; it was {seen}",
                observed=_observed(pair, kernel, features, seen),
            )
        if not expected.met_by(seen):
            raise AssertionError(
                f"{exporter.id} into {importer.id} was {seen} on Linux {kernel}, expected "
                f"{expected}: {expected.reason} ({self.path.name}:{expected.line})"
            )

    def _no_row(self, exporter: Device, importer: Device, kernel: Kernel) -> str:
        return (
            f"{self.path.name} has no row for {exporter.id} ({exporter.driver}) imported by "
            f"{importer.id} ({importer.driver}) on Linux {kernel}"
        )


def _observed(pair: Pair, kernel: Kernel, features: frozenset[str], seen: Seen) -> dict[str, str]:
    """Return what was seen as texts: what a journal keeps and a row can be made from."""
    return {
        "exporter": OWN if pair.own else pair.exporter,
        "importer": pair.importer,
        "access": pair.access.value,
        "board": BOUNCES if BOUNCES in features else "",
        "kernel": str(kernel),
        "outcome": seen.outcome,
        "errno": seen.errno,
        "attaches": str(seen.attaches),
        "maps": str(seen.maps),
    }


def _calls(attaches: int, maps: int) -> str:
    attach = "1 attach" if attaches == 1 else f"{attaches} attaches"
    return f"{attach}, {maps} map{'' if maps == 1 else 's'}"


def default_path() -> Path:
    """Return ``testsuites/expectations.yaml`` of the project."""
    return paths.testsuites() / FILE_NAME


def load_expectations(path: Path | None = None) -> Expectations:
    """Return the table.

    Args:
        path: the file; by default the project's.

    Raises:
        ConfigError: the file is wrong, or a row can never be reached; starts with ``file:line:``.
    """
    file = YamlFile(path or default_path())
    rows: list[Import] = []
    read = file.validate(_File)
    for number, entry in enumerate(read.imports):
        row = _row(file, number, entry)
        for earlier in rows:
            if earlier.hides(row):
                raise file.error(
                    ("imports", number), f"never reached: line {earlier.line} fits all it fits"
                )
        rows.append(row)
    behaviours = (_behaviour(file, number, one) for number, one in enumerate(read.behaviours))
    return Expectations(file.path, tuple(rows), tuple(behaviours))


def _kernels(file: YamlFile, at: tuple[str | int, ...], text: str) -> KernelRange:
    try:
        return KernelRange.parse(text)
    except ValueError as error:
        raise file.error((*at, "kernel"), f"'{text}': {error}") from error


def _behaviour(file: YamlFile, number: int, entry: _BehaviourRow) -> Behaviour:
    at = ("behaviours", number)
    kernel = _kernels(file, at, entry.kernel)
    reason = " ".join(entry.reason.split())
    return Behaviour(entry.name, entry.driver, kernel, reason, file.line(at))


def _row(file: YamlFile, number: int, entry: _ImportRow) -> Import:
    at = ("imports", number)
    kernel = _kernels(file, at, entry.kernel)
    if entry.board:
        check_features(file, ("imports", str(number), "board"), [entry.board])
    if entry.unmapped_errno and entry.outcome is not Outcome.EITHER:
        raise file.error((*at, "unmapped_errno"), f"goes with '{Outcome.EITHER}' only")
    if (entry.outcome is Outcome.SHARED) == bool(entry.errno or entry.unmapped_errno):
        wanted = "no errno" if entry.errno else "the errno of the refusal"
        raise file.error((*at, "outcome"), f"'{entry.outcome}' goes with {wanted}")
    for key, name in (("errno", entry.errno), ("unmapped_errno", entry.unmapped_errno)):
        if name and name not in errorcode.values():
            raise file.error((*at, key), f"'{name}' is no errno")
    if entry.maps and not entry.attaches:
        raise file.error((*at, "maps"), "nothing is mapped that is not attached")
    return Import(
        exporter=entry.exporter,
        importer=entry.importer,
        access=entry.access,
        kernel=kernel,
        outcome=entry.outcome,
        errno=entry.errno,
        maps=entry.maps,
        attaches=entry.attaches,
        reason=" ".join(entry.reason.split()),
        line=file.line(at),
        board=entry.board,
        leak=" ".join(entry.leak.split()),
        unmapped_errno=entry.unmapped_errno,
    )
