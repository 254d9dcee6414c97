"""What tests saw without an expectation, accepted into ``expectations.yaml``.

The file is edited as text: rows are added at the end of ``imports``, where no other row fits what
they are about, and every comment stays where it is.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from farm.board.kernel import KernelRelease
from farm.errors import ConfigError, ProtocolError, UsageError
from farm.pytest_plugin.expectations import (
    ANY,
    OWN,
    Access,
    Expectations,
    Import,
    KernelRange,
    Pair,
    Seen,
    load_expectations,
)

WIDTH = 100
"""Columns of the file."""
MIN_REASON = 20
"""Characters of a reason that says something."""


@dataclass(frozen=True, slots=True, order=True)
class Observation:
    """What one import did for which nothing was expected; drivers as a row names them."""

    importer: str
    exporter: str
    access: str
    kernel: str
    board: str
    outcome: str
    errno: str
    attaches: int
    maps: int

    @classmethod
    def parse(cls, told: Mapping[str, str]) -> Observation:
        """Read what a journal keeps of a NEW test.

        Raises:
            UsageError: it is no such record.
        """
        try:
            return cls(
                importer=told["importer"],
                exporter=told["exporter"],
                access=Access(told["access"]).value,
                kernel=str(KernelRelease.parse(told["kernel"])),
                board=told["board"],
                outcome=told["outcome"],
                errno=told["errno"],
                attaches=int(told["attaches"]),
                maps=int(told["maps"]),
            )
        except (KeyError, ValueError, ProtocolError) as error:
            said = f"what was seen cannot be read: {error!r}: {dict(told)!r}"
            raise UsageError(said) from error

    @property
    def pair(self) -> Pair:
        """The pair that it is about."""
        own = self.exporter == OWN
        return Pair(
            exporter=self.importer if own else self.exporter,
            importer=self.importer,
            own=own,
            cpu_only=self.access == Access.CPU,
            contiguous=self.access == Access.CONTIGUOUS,
        )

    @property
    def seen(self) -> Seen:
        """What the import did."""
        return Seen(self.outcome, self.errno, self.attaches, self.maps)

    @property
    def release(self) -> str:
        """The kernels that it speaks for: those of its own release, ``>=6.16,<6.17``."""
        major, minor, _ = KernelRelease.parse(self.kernel).numbers
        return f">={major}.{minor},<{major}.{minor + 1}"

    def expected(self, table: Expectations) -> Import | None:
        """Return the row that fits by now, if one does."""
        features = frozenset({self.board} - {""})
        return table.find(self.pair, KernelRelease.parse(self.kernel), features)

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.exporter} into {self.importer} on Linux {self.kernel}: {self.seen}"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What accepting observations makes of the file.

    ``added`` got a row, ``known`` are what a row says already; ``contrary`` have a row that says
    otherwise, with that row.
    """

    before: str
    after: str
    added: tuple[Observation, ...]
    known: tuple[Observation, ...]
    contrary: tuple[tuple[Observation, Import], ...]


def accept(
    path: Path, observations: Iterable[Observation], reason: str, kernel: str = ""
) -> Acceptance:
    """Work out the file with a row for each observation that has none; write nothing.

    ``kernel`` is the range that the rows hold for, by default the observed release alone.

    Raises:
        UsageError: the reason says nothing, the range does not hold what was observed, or two
            observations contradict each other.
        ConfigError: the file is wrong, or the rows would make it so.
    """
    reason = _checked_reason(reason)
    table = load_expectations(path)
    before = path.read_text(encoding="utf-8")
    added: dict[tuple[str, ...], Observation] = {}
    known: list[Observation] = []
    contrary: list[tuple[Observation, Import]] = []
    for one in sorted(set(observations), key=_special_first):
        row = one.expected(table)
        if row is None:
            _add(added, one, _range(one, kernel))
        elif row.met_by(one.seen):
            known.append(one)
        else:
            contrary.append((one, row))
    rows = "".join(
        _row(one, key[-1], reason, first=number == 0)
        for number, (key, one) in enumerate(added.items())
    )
    after = _inserted(path, before, rows) if added else before
    if added:
        _check(path, after)
    return Acceptance(before, after, tuple(added.values()), tuple(known), tuple(contrary))


def _special_first(one: Observation) -> tuple[object, ...]:
    """Order observations so that no row hides a later one: the first that fits counts."""
    return (one.importer, not one.board, one.access == ANY, one.exporter != OWN, one)


def _checked_reason(reason: str) -> str:
    reason = " ".join(reason.split())
    if len(reason) < MIN_REASON or not reason.isprintable():
        raise UsageError(
            f"a reason of {len(reason)} characters: {reason!r}",
            next_step=f"say in {MIN_REASON} characters or more why the kernel does that, with the "
            "place in its source: --reason 'drm_gem_prime_import() … (drivers/gpu/drm/…)'",
        )
    return reason


def _range(one: Observation, kernel: str) -> str:
    if not kernel:
        return one.release
    try:
        holds = KernelRange.parse(kernel).contains(KernelRelease.parse(one.kernel))
    except ValueError as error:
        raise UsageError(f"--kernel {kernel!r}: {error}") from error
    if not holds:
        raise UsageError(f"--kernel {kernel!r} does not hold Linux {one.kernel}, where it was seen")
    return kernel


def _add(added: dict[tuple[str, ...], Observation], one: Observation, kernel: str) -> None:
    key = (one.exporter, one.importer, one.access, one.board, kernel)
    other = added.setdefault(key, one)
    if other.seen != one.seen:
        raise UsageError(
            f"seen both ways: {other}; {one}",
            next_step="find out what decides, and write the row (outcome: either, or a board's "
            "feature)",
        )


def _row(one: Observation, kernel: str, reason: str, *, first: bool) -> str:
    """Return a row of the file, indented as an item of a list at column 0."""
    keys = {
        "exporter": one.exporter,
        "importer": one.importer,
        "access": one.access if one.access != ANY else "",
        "kernel": kernel,
        "board": one.board,
        "outcome": one.outcome,
        "errno": one.errno,
    }
    lines = [f"{name}: {_scalar(value)}" for name, value in keys.items() if value]
    lines += [f"attaches: {one.attaches}", f"maps: {one.maps}", "reason: >-"]
    lines += textwrap.wrap(
        reason,
        WIDTH - 6,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    head = f"\n# --- accepted as seen on Linux {one.kernel} ---\n\n" if first else ""
    return head + "".join(f"{'- ' if not n else '  '}{line}\n" for n, line in enumerate(lines))


def _scalar(text: str) -> str:
    """Return a text as YAML writes it, in quotes only where it needs them."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text)
    if plain and isinstance(yaml.safe_load(text), str):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _inserted(path: Path, text: str, rows: str) -> str:
    """Return the file's text with rows after the last one of ``imports``."""
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "the table was read from it"
    node = next(value for key, value in root.value if key.value == "imports")
    if node.flow_style:
        line = node.start_mark.line + 1
        raise ConfigError(
            f"{path}:{line}: imports: written in one line, where no row can be added",
            next_step="write it as a list with a row a line",
        )
    lines = text.splitlines(keepends=True)
    last = _end(node)
    at = last.line + (last.column > 0)
    while at > 0 and not lines[at - 1].strip():
        at -= 1
    if not lines[at - 1].endswith("\n"):
        lines[at - 1] += "\n"
    indent = " " * node.start_mark.column
    return "".join([*lines[:at], textwrap.indent(rows, indent), *lines[at:]])


def _end(node: yaml.Node) -> yaml.Mark:
    """Return where a node's last text ends; the mark of a block is where the next one begins."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return _end(node.value[-1])
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    return node.end_mark


def _check(path: Path, text: str) -> None:
    """Make sure that the text is a good table, before it takes the file's place."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8")
        try:
            load_expectations(trial)
        except ConfigError as error:
            said = str(error).replace(str(trial), str(path))
            raise ConfigError(said, next_step="nothing was written; add the row by hand") from error
