"""The vocabulary as frozen dataclasses; no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Verdict(StrEnum):
    """What became of one case in one attempt."""

    PASS = "PASS"
    FAIL = "FAIL"
    SKIP = "SKIP"  # the board type never claimed what the case needs
    XFAIL = "XFAIL"
    XPASS = "XPASS"
    ERROR = "ERROR"  # the test itself broke
    INFRA = "INFRA"  # board or lab broke
    MISS = "MISS"  # planned, never ran
    NEW = "NEW"  # it behaves in a way that nothing says is right or wrong yet

    @property
    def is_failure(self) -> bool:
        """Whether the verdict counts against what was tested, or against the test: exit 1."""
        return self in (Verdict.FAIL, Verdict.XPASS, Verdict.ERROR)

    @property
    def is_gap(self) -> bool:
        """Whether the verdict leaves open if what was tested is right: exit 3."""
        return self in (Verdict.INFRA, Verdict.MISS, Verdict.NEW)

    @property
    def is_telling(self) -> bool:
        """Whether the test ran, and told if what was tested is right."""
        return not self.is_gap and self is not Verdict.SKIP


class Purpose(StrEnum):
    """Why a run has a job."""

    FIRST = ""
    RETRY = "retry"  # tries what board or lab left open in another job
    REPEAT = "repeat"  # tells more about what failed anew in another job


WORST_FIRST = (
    Verdict.FAIL,
    Verdict.ERROR,
    Verdict.XPASS,
    Verdict.NEW,
    Verdict.INFRA,
    Verdict.MISS,
    Verdict.XFAIL,
    Verdict.PASS,
    Verdict.SKIP,
)
"""Verdicts from what needs a look to what does not; several together count as the first."""


SHOWN_FIRST = (
    *(one for one in WORST_FIRST if one.is_failure or one.is_gap),
    Verdict.PASS,
    Verdict.SKIP,
    Verdict.XFAIL,
)
"""Verdicts in the order in which counts of them are shown: what needs a look, then what passed."""


def tally(verdicts: Iterable[Verdict]) -> dict[Verdict, int]:
    """Return how often each verdict occurs, in the order in which that is shown."""
    counted = Counter(verdicts)
    return {verdict: counted[verdict] for verdict in SHOWN_FIRST if counted[verdict]}


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return what several verdicts amount to: the worst; SKIP only where nothing else is."""
    found = set(verdicts)
    return next((verdict for verdict in WORST_FIRST if verdict in found), None)


def amount(replicates: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
    """Return the verdict and reason that a test's replicates amount to, given at least one's.

    The worst counts, with the reason of the first that has it and, where they differ, in how many.
    """
    verdict = worst(verdict for verdict, _ in replicates)
    assert verdict is not None, "at least one replicate"
    reasons = [reason for one, reason in replicates if one is verdict]
    if len(reasons) == len(replicates):
        return verdict, reasons[0]
    return verdict, f"{len(reasons)} of {len(replicates)} replicates: {reasons[0]}"


class Better(StrEnum):
    """Which way a metric should move."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


def _frozen(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True, slots=True)
class Metric:
    """What a name in a sample means.

    ``unit`` is a UCUM-like token (``ns``, ``count``, ``B``); ``source`` names the kernel file or
    interface that the number comes from.
    """

    name: str
    unit: str
    better: Better
    source: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value of one metric in one case.

    ``params`` tell which part of the case it belongs to (``phase=second``); the case's own
    parameters are kept with the case and not repeated here.
    """

    metric: str
    value: float
    unit: str
    params: Mapping[str, str] = field(default_factory=lambda: _frozen({}))
    replicate: int = 0


@dataclass(frozen=True, slots=True)
class Absent:
    """A counter that the board could not give, and why; never to be read as zero."""

    counter: str
    reason: str


WITHIN = "@"
"""In the node id of a test within a test: between the test's own id and its name there."""


@dataclass(frozen=True, slots=True)
class TestKey:
    """One test with one set of parameters: a row of a run.

    ``nodeid`` is pytest's, relative to ``testsuites/``; ``case`` is the payload case that the test
    runs (empty where it runs none).
    """

    __test__ = False  # not a pytest class

    nodeid: str
    suite: str
    test: str
    case: str
    params: Mapping[str, str]
    requirements: tuple[str, ...] = ()


class DeviceKind(StrEnum):
    """How a device is reached from user space."""

    DRM = "drm"
    V4L2 = "v4l2"
    M2M = "m2m"  # V4L2 memory-to-memory: codecs and converters
    UDMABUF = "udmabuf"
    HEAP = "heap"
    REFDEV = "refdev"  # the reference device, testsuites/refdev


@dataclass(frozen=True, slots=True)
class Device:
    """An exporter or importer of dma-bufs that a board type or an image profile declares.

    ``address`` is how the payload finds it: ``drm:<driver name>`` (DRM_IOCTL_VERSION),
    ``v4l2:<bus_info without "platform:">``, ``m2m:<the same>``, ``udmabuf``, ``heap:<name>``,
    ``refdev``. ``module`` is
    the kernel module that drives it: where an image is built here that does not load it, a board
    type's device is not claimed. ``contiguous`` says that
    it can only reach physically contiguous memory, ``cpu_only`` that it reads with the CPU and
    maps nothing for DMA. ``iommu`` says whether its DMA goes through an IOMMU that the DMA API
    maps, ``own_domain`` that its driver maps there past the DMA API. ``coherent`` says
    whether it snoops the CPU's caches (None: not stated), ``dma_mask_bits`` how many address bits
    its driver asks for (0: not stated); ``sources`` cite the kernel for all that.
    """

    id: str
    kind: DeviceKind
    driver: str
    address: str
    exports: bool
    imports: bool
    iommu: bool = False
    contiguous: bool = False
    cpu_only: bool = False
    control: bool = False
    module: str = ""
    own_domain: bool = False
    coherent: bool | None = None
    dma_mask_bits: int = 0
    sources: tuple[str, ...] = ()
    coded: str = ""
    encodes: bool = False
    decodes: bool = False
    stateless: bool = False
    formats: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    psnr_db: float = 0.0
    crc: bool = False


@dataclass(frozen=True, slots=True)
class ImageProvenance:
    """What a board image was made of: one row a package."""

    package: str
    version: str
    architecture: str
    sha256: str
