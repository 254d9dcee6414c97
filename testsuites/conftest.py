"""What the suites share: expectations of the board's kernel, and the control beside every zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from farm.pytest_plugin.api import Board, ControlError, Device, control
from farm.pytest_plugin.expectations import (
    Expectations,
    Import,
    Kernel,
    Outcome,
    load_expectations,
)


@dataclass(frozen=True, slots=True)
class Expect:
    """The expectations that hold on the board's kernel."""

    table: Expectations
    kernel: Kernel
    features: frozenset[str]

    def of_import(self, exporter: Device, importer: Device) -> Import:
        """Return what importing ``exporter``'s buffer into ``importer`` is expected to do."""
        return self.table.of_import(exporter, importer, self.kernel, self.features)

    def sharing(self, exporter: Device, importer: Device) -> Import:
        """Return the same; skip the test where the kernel never offered to share this pair.

        Also where it depends on the allocator whether a board that bounces can share it.
        """
        expected = self.of_import(exporter, importer)
        if expected.outcome is Outcome.EITHER and expected.board:
            pytest.skip(f"{exporter.id} into {importer.id} is {expected}: {expected.reason}")
        if expected.outcome is Outcome.REFUSED:
            pytest.skip(
                f"Linux {self.kernel} never claimed it: {exporter.id} into {importer.id} is "
                f"{expected} ({expected.reason})"
            )
        return expected


@pytest.fixture(scope="session")
def expectations() -> Expectations:
    """The table of expectations."""
    return load_expectations()


@pytest.fixture
def expect(board: Board, expectations: Expectations) -> Expect:
    """What this board's kernel is expected to do."""
    return Expect(expectations, board.kernel, board.type.features)


@pytest.fixture
def mapping_control(board: Board, expect: Expect) -> Callable[[], None]:
    """Prove that attachments and maps are counted here and now, so that a zero means none.

    Imports a udmabuf, or where the kernel has none another device's buffer, into a device that is
    expected to map it (a declared control first), also one that refuses it afterwards.

    Raises:
        ControlError: no declared device maps on this kernel, or nothing was counted.
    """

    def mapping() -> Iterator[tuple[Device, Device]]:
        exporters = [device for device in board.devices if device.exports]
        importers = [device for device in board.devices if device.imports]
        for importer in sorted(importers, key=lambda one: (not one.control, one.id)):
            for kind in ("udmabuf", "drm"):
                for exporter in (one for one in exporters if one.kind == kind):
                    if exporter != importer and expect.of_import(exporter, importer).maps:
                        yield exporter, importer

    def run() -> None:
        pair = next(mapping(), None)
        if pair is None:
            raise ControlError(
                f"no importer of {board.type.name} maps on Linux {board.kernel}",
                next_step="declare a device that maps what it imports",
            )
        exporter, importer = pair
        result = board.run("map_control", exporter=exporter, importer=importer)
        for counter in ("dma_buf_attach", "dma_map_sg"):
            control(
                result.counter(counter, phase="control"),
                f"importing into {importer.id} counted no {counter}",
            )

    return run
