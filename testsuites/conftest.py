"""What the suites share: expectations of the board's kernel, and the control beside every zero."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from farm.pytest_plugin.api import (
    Board,
    CaseFailed,
    CaseResult,
    ControlError,
    Device,
    control,
    known_failure,
)
from farm.pytest_plugin.controls import mapping_pairs
from farm.pytest_plugin.expectations import (
    Expectations,
    Import,
    Kernel,
    Outcome,
    Pair,
    Seen,
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

    def behaves(self, name: str, driver: str) -> bool:
        """Return whether a driver does that on the board's kernel (``behaviours:``)."""
        return self.table.behaves(name, driver, self.kernel) is not None

    def known(
        self,
        request: pytest.FixtureRequest,
        name: str,
        driver: str,
        symptom: str,
        *,
        when: bool = True,
    ) -> AbstractContextManager[None]:
        """Return what takes a symptom for the known failure of that behaviour, with its reason.

        Only where the driver behaves so on the board's kernel, and ``when`` holds.
        """
        row = self.table.behaves(name, driver, self.kernel)
        known = row is not None and when
        return known_failure(request, row.reason if row else "", symptom, when=known)

    def judge(self, exporter: Device, importer: Device, seen: Seen) -> None:
        """Hold what an import did against the expectation; without one, it is NEW."""
        __tracebackhide__ = True
        self.table.judge(exporter, importer, self.kernel, self.features, seen)

    def find(self, exporter: Device, importer: Device) -> Import | None:
        """Return what is expected of importing, None where nothing is."""
        return self.table.find(Pair.of(exporter, importer), self.kernel, self.features)

    def wrong_vmap_of_huge_pages(
        self, request: pytest.FixtureRequest, *, importer: Device, shown: bool = False
    ) -> AbstractContextManager[None]:
        """Return what expects a CPU-only importer to get a udmabuf of huge pages wrong.

        That is seen byte by byte, or where the importer shows it, by the CRC of what it shows.
        """
        wrong = r"byte \d+ of (\d+|the result) is 0x"
        if shown:
            wrong = r"the CRC of the (GPU|exporter)'s buffer is 0x"
        when = importer.kind in ("v4l2", "m2m") or shown
        return self.known(request, "vmap_of_heads", "udmabuf", wrong, when=when)

    def streaming(self, exporter: Device, importer: Device) -> Import:
        """Return the same; skip the test where an import may fail by chance, too.

        A stream needs many buffers, each of which must be taken.
        """
        expected = self.sharing(exporter, importer)
        if expected.outcome is Outcome.EITHER:
            pytest.skip(f"{exporter.id} into {importer.id} is {expected.what}: {expected.reason}")
        return expected

    def sharing(self, exporter: Device, importer: Device) -> Import:
        """Return the same; skip the test where the kernel never offered to share this pair.

        Also where it depends on the allocator whether a board that bounces can share it.
        """
        expected = self.of_import(exporter, importer)
        if expected.outcome is Outcome.EITHER and expected.board:
            pytest.skip(f"{exporter.id} into {importer.id} is {expected.what}: {expected.reason}")
        if expected.outcome is Outcome.REFUSED:
            pytest.skip(
                f"Linux {self.kernel} never claimed it: {exporter.id} into {importer.id} is "
                f"{expected.what} ({expected.reason})"
            )
        return expected


@dataclass(frozen=True, slots=True)
class Taken:
    """How often a V4L2 importer, in a phase, got hold of memory and let go of it.

    A device maps for DMA (``dma_map_sg``); an importer that uses the CPU asks for kernel
    addresses instead (``dma_buf_vmap``), and its attachments and DMA maps must be zero. That they
    are counted is proven once a boot (:func:`counting_control`).
    """

    got: float
    let_go: float


def taking(importer: Device) -> tuple[str, str]:
    """Return the counters of what an importer does to get hold of memory, and to let go of it."""
    if importer.cpu_only:
        return "dma_buf_vmap", "dma_buf_vunmap"
    return "dma_map_sg", "dma_unmap_sg"


@pytest.fixture
def taken(counting_control: Callable[[], None]) -> Callable[[CaseResult, Device, str], Taken]:
    """Count what an importer took in a phase, by the counter that its kind of access has."""

    def count(result: CaseResult, importer: Device, phase: str) -> Taken:
        if importer.cpu_only:
            for counter in ("dma_buf_attach", "dma_map_sg"):
                assert result.counter(counter, phase=phase) == 0, f"{counter} during {phase}"
            counting_control()
        got, let_go = taking(importer)
        return Taken(result.counter(got, phase=phase), result.counter(let_go, phase=phase))

    return count


@pytest.fixture
def taking_control(board: Board, expect: Expect) -> Callable[[Device], None]:
    """Prove that what an importer takes is counted, by a dma-buf that it is sure to take."""

    def run(importer: Device) -> None:
        exporters = [one for one in board.devices if one.exports]
        for exporter in sorted(exporters, key=lambda one: one == importer):  # its own last
            row = expect.find(exporter, importer)
            if row is not None and row.outcome is Outcome.SHARED:
                result = board.run("map_control", exporter=exporter, importer=importer)
                for counter in taking(importer):
                    told = f"{exporter.id} into {importer.id} counted no {counter}"
                    control(result.counter(counter, phase="control"), told)
                return
        raise ControlError(
            f"no exporter of {board.type.name} is sure to suit {importer.id}",
            next_step="declare one, and what is expected of it (testsuites/expectations.yaml)",
        )

    return run


@pytest.fixture
def imported_once(mapping_control: Callable[[], None]) -> Callable[[CaseResult, Device], None]:
    """Hold a codec's steady state to no import at all, beside its first frames, which had some."""

    def check(result: CaseResult, codec: Device) -> None:
        got, _ = taking(codec)
        control(result.counter(got, phase="first"), f"{codec.id} took no buffer at all ({got})")
        for counter in dict.fromkeys(("dma_buf_attach", "dma_map_sg", got)):
            assert result.counter(counter, phase="steady") == 0, f"{counter} in a steady state"
        if codec.cpu_only:
            mapping_control()

    return check


@pytest.fixture
def sync_control(board: Board) -> Callable[[], None]:
    """Prove that syncs for the CPU are counted, by those that udmabuf has for its own device.

    That is not coherent on arm64, whatever the board: no bus describes it (begin_cpu_udmabuf(),
    drivers/dma-buf/udmabuf.c, 6.12 to 7.3).
    """

    def run() -> None:
        if not any(device.kind == "udmabuf" for device in board.devices):
            raise ControlError(
                f"{board.type.name} has no udmabuf, of which each SYNC is counted",
                next_step="use an image with CONFIG_UDMABUF",
            )
        result = board.run("cpu_first")
        counted = result.counter("dma_sync_sg_for_cpu", phase="later")
        control(counted, f"{result.info['times']} accesses to a udmabuf counted no sync")

    return run


@pytest.fixture(scope="session")
def expectations() -> Expectations:
    """The table of expectations."""
    return load_expectations()


@pytest.fixture
def expect(board: Board, expectations: Expectations) -> Expect:
    """What this board's kernel is expected to do."""
    return Expect(expectations, board.kernel, board.type.features)


@pytest.fixture
def mapping_control(board: Board, expect: Expect) -> Callable[..., None]:
    """Prove that attachments, maps and unmaps are counted here and now, so that zero means none.

    Imports a buffer as large as the one that was not mapped (``size``): a udmabuf, or where the
    kernel has none another device's, into a device that is expected to map it, also one that
    refuses it afterwards. A device that cannot be opened, as a video input without a signal, is
    followed by the next. Where no expectation says so of any, those of which nothing is known are
    tried until one maps.

    Raises:
        ControlError: no declared device maps on this kernel, or nothing was counted.
    """

    def uncounted(exporter: Device, importer: Device, size: int) -> str:
        result = board.run("map_control", exporter=exporter, importer=importer, size=size)
        none = [
            counter
            for counter in ("dma_buf_attach", "dma_map_sg", "dma_unmap_sg")
            if not result.counter(counter, phase="control")
        ]
        return f"{size} bytes into {importer.id} counted no {none[0]}" if none else ""

    def run(size: int = 1 << 20) -> None:
        sure, unknown = mapping_pairs(board.devices, expect.find)
        unusable = []
        for pair in sure:
            try:
                missing = uncounted(*pair, size)
            except (CaseFailed, pytest.skip.Exception) as failed:
                unusable.append(f"{pair[1].id}: {failed}")
                continue
            control(not missing, missing)
            return
        if not any(not uncounted(*pair, size) for pair in unknown):
            tried = f"; {'; '.join(unusable)}" if unusable else ""
            raise ControlError(
                f"no importer of {board.type.name} maps on Linux {board.kernel}{tried}",
                next_step="declare a device that maps what it imports",
            )

    return run


@pytest.fixture(scope="session")
def proven_boots() -> set[int]:
    """The boots on which :func:`counting_control` has shown that maps are counted."""
    return set()


@pytest.fixture
def counting_control(
    board: Board, mapping_control: Callable[[], None], proven_boots: set[int]
) -> Callable[[], None]:
    """Do the same as :func:`mapping_control` once a boot, for zeros of which there are hundreds."""

    def run() -> None:
        if board.boot not in proven_boots:
            mapping_control()
            proven_boots.add(board.boot)

    return run
