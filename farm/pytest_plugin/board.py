"""The ``board`` that tests get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from farm.board.judging import Session
from farm.board.kernel import KernelRelease
from farm.board.result import CaseComplaint, CaseResult
from farm.errors import CaseCrashed, UsageError
from farm.inventory import BoardType, ImageProfile
from farm.model import Device
from farm.pytest_plugin.record import Record
from farm.pytest_plugin.settings import Settings


class CaseFailed(AssertionError):
    """A payload case failed or exceeded its time limit; ``result`` is what it gave."""

    def __init__(self, message: str, result: CaseResult) -> None:
        """Keep the result with the sentence."""
        super().__init__(message)
        self.result = result


class Board:
    """A booted board, for the time of one test."""

    def __init__(self, settings: Settings, session: Session, record: Record, boot: int) -> None:
        """Run on ``session``, which the job's boot of that number made; ``record`` gets results."""
        self.boot = boot
        self._settings = settings
        self._session = session
        self._record = record

    @property
    def type(self) -> BoardType:
        """The board's type."""
        return self._settings.board_type

    @property
    def profile(self) -> ImageProfile:
        """The image profile that it boots."""
        return self._settings.profile

    @property
    def devices(self) -> tuple[Device, ...]:
        """Every device that board type and image declare."""
        return self._settings.devices

    @property
    def kernel(self) -> KernelRelease:
        """The kernel that runs."""
        return self._session.kernel

    @property
    def facts(self) -> Mapping[str, str]:
        """What the payload found: kernel, processors, memory."""
        return self._session.facts

    @property
    def topology(self) -> Mapping[str, Any]:
        """IOMMU groups, devices and nodes; see :func:`farm.board.topology.parse`."""
        return self._session.topology

    @property
    def absent(self) -> Mapping[str, str]:
        """The counters that this board cannot give, each with the reason."""
        return self._session.absent

    def device(self, name: str) -> Device:
        """Return a declared device by its id.

        Raises:
            UsageError: none is declared under that id.
        """
        for device in self.devices:
            if device.id == name:
                return device
        declared = ", ".join(device.id for device in self.devices)
        raise UsageError(f"{self.type.name} declares no device {name!r}; it has {declared}")

    def run(
        self,
        case: str,
        *,
        check: bool = True,
        timeout_s: float | None = None,
        tolerate: Sequence[str] = (),
        **params: Device | str | int | bool,
    ) -> CaseResult:
        """Run a payload case and return its result.

        A device becomes its address. ``timeout_s`` replaces the board config's ``limits.case_s``
        (a kernel that is ``slowness`` times slower has as many times as long in either case);
        ``tolerate`` names kernel complaints that the case provokes on purpose. With ``check`` any
        outcome but a pass raises, without it the caller judges.

        Raises:
            CaseFailed: the case failed, or exceeded its time limit.
            CaseCrashed: it crashed, or leaked.
            KernelComplaint: the kernel complained meanwhile, whatever the case says.
            InfraError: the board was lost.
        """
        __tracebackhide__ = True
        lacking = self._session.lacks(case)
        if lacking:
            pytest.skip(f"case {case} needs {lacking}")
        words = {key: _word(value) for key, value in params.items()}
        try:
            result = self._session.run(case, words, timeout_s=timeout_s, tolerate=tolerate)
        except CaseComplaint as complaint:
            if complaint.result is not None:
                self._record.runs.append((words, complaint.result))
            raise
        self._record.runs.append((words, result))
        if check:
            _check(result)
        return result

    def command(self, text: str) -> str:
        """Run a shell command on the board and return what it printed.

        Raises:
            TestBroken: it ended with another status than 0.
            InfraError: it took over ``limits.command_s``, or the board was lost.
        """
        __tracebackhide__ = True
        return self._session.command(text)


def _word(value: Device | str | int | bool) -> str:
    if isinstance(value, Device):
        return value.address
    return str(int(value)) if isinstance(value, bool) else str(value)


def _check(result: CaseResult) -> None:
    __tracebackhide__ = True
    said = f"case {result.case}: {result.reason or result.outcome}"
    if result.outcome == "skip":
        pytest.skip(said)
    if result.outcome == "error":
        raise CaseCrashed(said)
    if result.outcome != "pass":
        raise CaseFailed(said, result)
