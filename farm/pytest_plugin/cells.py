"""Cells of the sharing matrix: one per exporter and importer."""

from __future__ import annotations

from farm.errors import UsageError
from farm.model import Device
from farm.pytest_plugin.record import Record

OUTCOMES = ("shared", "refused", "wrong")
"""What may become of a buffer between exporter and importer."""


class Cell:
    """Keeps what became of one pair, for the report's matrix."""

    def __init__(self, record: Record) -> None:
        """Write into the record of the test that asks."""
        self._record = record

    def __call__(
        self, exporter: Device | str, importer: Device | str, outcome: str, errno: str = ""
    ) -> None:
        """Note that a buffer of ``exporter`` was ``shared``, ``refused`` or ``wrong``.

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
