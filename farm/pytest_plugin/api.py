"""What suites import: the types that tests name, and positive controls."""

from __future__ import annotations

from farm.board.kernel import KernelRelease
from farm.board.result import CaseResult
from farm.errors import ControlError, NoExpectation, TestBroken
from farm.image.bundles import Bundle
from farm.model import Device, Verdict
from farm.pytest_plugin.board import Board, CaseFailed
from farm.pytest_plugin.cells import Cell
from farm.pytest_plugin.known import known_failure
from farm.pytest_plugin.programs import Programs
from farm.pytest_plugin.stress import Stress
from farm.pytest_plugin.subcases import SubCase

__all__ = [
    "Board",
    "Bundle",
    "CaseFailed",
    "CaseResult",
    "Cell",
    "ControlError",
    "Device",
    "KernelRelease",
    "NoExpectation",
    "Programs",
    "Stress",
    "SubCase",
    "TestBroken",
    "Verdict",
    "control",
    "known_failure",
]


def control(holds: object, message: str = "it counted nothing") -> None:
    """Demand that a positive control holds, so that a zero beside it means something.

    Raises:
        ControlError: it does not; the verdict is ERROR.
    """
    __tracebackhide__ = True
    if not holds:
        raise ControlError(f"the positive control does not hold: {message}")
