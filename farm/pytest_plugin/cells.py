"""Cells of the sharing matrix: one per exporter and importer."""

from __future__ import annotations

from collections.abc import Mapping

from farm.errors import UsageError
from farm.model import Device
from farm.pytest_plugin.record import Record

OUTCOMES = ("shared", "taken", "refused", "wrong")
"""What may become of a buffer between exporter and importer.

``shared`` is content seen through the importer; of what was ``taken`` nothing shows what it sees.
"""


class Cell:
    """Keeps what became of one pair, for the report's matrix."""

    def __init__(self, record: Record) -> None:
        """Write into the record of the test that asks."""
        self._record = record

    def __call__(
        self, exporter: Device | str, importer: Device | str, outcome: str, errno: str = ""
    ) -> None:
        """Note that a buffer of ``exporter`` was ``shared``, ``taken``, ``refused`` or ``wrong``.

        Raises:
            UsageError: the outcome is none of these.
        """
        if outcome not in OUTCOMES:
            raise UsageError(f"matrix cell: outcome {outcome!r}, expected one of {OUTCOMES}")
        self._record.cell = {
            "exporter": exporter.id if isinstance(exporter, Device) else exporter,
            "importer": importer.id if isinstance(importer, Device) else importer,
            "outcome": outcome,
            "errno": errno,
        }

    def told(
        self, exporter: Device | str, importer: Device | str, info: Mapping[str, str]
    ) -> tuple[str, str]:
        """Note what a case told of a pair, and return outcome and errno as expectations have them.

        ``info`` holds ``outcome``, ``errno``, and ``carried`` where nobody may have seen what the
        importer sees: ``no`` makes the cell ``taken``.
        """
        outcome = info["outcome"]
        errno = info["errno"] if outcome == "refused" else ""
        taken = outcome == "shared" and info.get("carried") == "no"
        self(exporter, importer, "taken" if taken else outcome, errno)
        return outcome, errno
