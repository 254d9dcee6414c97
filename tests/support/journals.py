"""Journals as a run of two boards would leave them, for the tests of everything that reads them.

Deterministic: the same arguments give the same bytes. :func:`write_run` makes a run with every
kind of verdict, a kernel panic, hostile text and a sharing matrix.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from farm.events import (
    AbsentEvent,
    Artifact,
    BoardReady,
    CaseFinished,
    CaseStarted,
    Complaint,
    Event,
    ImageInfo,
    JobFinished,
    JobStarted,
    Key,
    Package,
    Plan,
    SampleEvent,
    StateChanged,
    encode,
)
from farm.model import Verdict

EPOCH = 1_790_000_000.0
HOSTILE = "<script>alert('farm')</script> \x1b[31mred\x1b[0m \x00 ]]> \x07 & \ufffe"

EXPORTERS = ("udmabuf", "vgem", "cirrus", "bochs", "virtio-gpu", "vivid-vmalloc", "vivid-contig")
IMPORTERS = ("cirrus", "bochs", "virtio-gpu", "vgem", "vivid-vmalloc", "vivid-contig")
REFUSES = {"bochs": "EINVAL", "virtio-gpu": "ENODEV"}
MAPPING = {"cirrus", "vgem", "vivid-contig"}

TESTS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("sharing", "test_identity", "test_export_twice_is_one_buffer", "export_twice", ("SHR-1",)),
    ("sharing", "test_identity", "test_own_export_is_own_handle", "import_own", ("SHR-2",)),
    ("sharing", "test_lifetime", "test_content_outlives_exporter", "outlive", ("SHR-5",)),
    ("sharing", "test_lifetime", "test_refused_import_unmaps", "refused", ("SHR-6",)),
    ("mapcache", "test_map", "test_second_import_costs_no_map", "import_twice", ("MAP-1",)),
    ("mapcache", "test_map", "test_thousand_imports_cost_one", "import_many", ("MAP-2",)),
    ("mapcache", "test_map", "test_cache_is_per_open_file", "two_files", ("MAP-3",)),
    ("mapcache", "test_map", "test_reimport_maps_again", "reimport", ("MAP-4",)),
    ("cpuaccess", "test_cpu", "test_cpu_importer_maps_nothing", "cpu_import", ("CPU-1",)),
    ("cpuaccess", "test_cpu", "test_sync_refuses_nonsense", "sync_flags", ("CPU-3",)),
    ("cpuaccess", "test_cpu", "test_size_by_seeking", "seek", ("CPU-7",)),
    ("sync", "test_fence", "test_poll_tells_readers_from_writers", "poll", ("SYN-1",)),
    ("sync", "test_fence", "test_sync_start_waits_and_wakes", "wake", ("SYN-2",)),
    ("sync", "test_fence", "test_sync_file_is_a_snapshot", "snapshot", ("SYN-3",)),
    ("constraints", "test_contig", "test_scattered_is_refused", "scattered", ("CON-1",)),
)

COUNTERS = (
    "dma_map_sg",
    "dma_unmap_sg",
    "dma_sync_sg_for_cpu",
    "iommu_map",
    "iommu_unmap",
    "dma_fence_init",
    "dma_fence_destroy",
    "page_faults",
    "context_switches",
    "smmu_evtq",
)

PANIC = (
    "[   21.804411] Unable to handle kernel NULL pointer dereference at 0000000000000018",
    "[   21.806022] Internal error: Oops: 0000000096000004 [#1] SMP",
    "[   21.806911] Modules linked in: vivid cirrus bochs virtio_gpu udmabuf vgem",
    "[   21.808123] CPU: 1 UID: 0 PID: 231 Comm: payload Not tainted 6.12.107+deb13-arm64 #1",
    "[   21.808777] pc : dma_buf_detach+0x24/0x140",
    "[   21.809031] lr : drm_gem_shmem_put_pages+0x5c/0x90",
    "[   21.811020] Call trace:",
    "[   21.811344]  dma_buf_detach+0x24/0x140 (P)",
    "[   21.811699]  drm_prime_gem_destroy+0x34/0x58",
    "[   21.812500] ---[ end trace 0000000000000000 ]---",
    "[   21.813104] Kernel panic - not syncing: Oops: Fatal exception",
)


def write_journal(path: Path, events: Iterable[Event]) -> Path:
    """Write the events as a journal; ``seq`` is given here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        encode(event.model_copy(update={"seq": number})) for number, event in enumerate(events)
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def run_id(number: int) -> str:
    """Return the id of the numbered run."""
    return f"20260921-06{number:02d}00-{hashlib.sha256(str(number).encode()).hexdigest()[:4]}"


def write_run(
    folder: Path, number: int = 1, *, trouble: bool = True, extra: int = 0
) -> tuple[Path, Path]:
    """Write both boards' journals of one run and return their paths.

    Without ``trouble`` every test passes. ``extra`` adds that many plain passing tests a board.
    """
    paths = []
    for board, board_type in (
        ("virt-smmuv3-1", "virt-smmuv3"),
        ("virt-noiommu-1", "virt-noiommu"),
    ):
        path = folder / run_id(number) / board / "journal.jsonl"
        events = job_events(number, board, board_type, trouble=trouble, extra=extra)
        paths.append(write_journal(path, events))
    return paths[0], paths[1]


def job_events(
    number: int, board: str, board_type: str, *, trouble: bool = True, extra: int = 0
) -> list[Event]:
    """Return the events of one job of the numbered run."""
    return list(_Job(number, board, board_type, trouble, extra).events())


def _plan(board_type: str, extra: int) -> list[Key]:
    keys = []
    for suite, module, test, case, requirements in TESTS:
        for importer in IMPORTERS[:3] if suite != "sync" else ("vgem",):
            keys.append(_key(suite, module, test, case, {"importer": importer}, requirements))
    for exporter in EXPORTERS:
        for importer in IMPORTERS:
            keys.append(
                _key(
                    "sharing",
                    "test_matrix",
                    "test_pair",
                    "share",
                    {"exporter": exporter, "importer": importer},
                    ("SHR-3",),
                )
            )
    for index in range(extra):
        keys.append(
            _key(
                "mapcache",
                "test_grow",
                "test_cost",
                "cost",
                {"size": str(4096 << index % 12), "round": str(index)},
                (),
            )
        )
    return keys


def _key(
    suite: str,
    module: str,
    test: str,
    case: str,
    params: dict[str, str],
    requirements: tuple[str, ...],
) -> Key:
    return Key(
        nodeid=f"{suite}/{module}.py::{test}[{'-'.join(params.values())}]",
        suite=suite,
        test=test,
        case=case,
        params=params,
        requirements=list(requirements),
    )


class _Job:
    """Events of one job, with a clock and a seeded source of noise."""

    def __init__(self, number: int, board: str, board_type: str, trouble: bool, extra: int) -> None:
        self.number = number
        self.board = board
        self.board_type = board_type
        self.trouble = trouble
        self.iommu = board_type == "virt-smmuv3"
        self.now = EPOCH + number * 86_400.0
        self.noise = random.Random(f"{number} {board}")
        self.plan = _plan(board_type, extra)

    def tick(self, seconds: float) -> float:
        self.now = round(self.now + seconds, 3)
        return self.now

    def events(self) -> Iterator[Event]:
        yield JobStarted(
            t=self.now,
            run=run_id(self.number),
            job=f"{self.board}-1",
            board=self.board,
            board_type=self.board_type,
            image=ImageInfo(profile="debian-13", id="c4b1f7a92d03e5ac", packages=_packages()),
            hardware={"emulator": "qemu-7.2.22"},
            farm_version="0.1.0",
            argv=["farm", "run"],
            controller="shelf",
            boot_id="6d2e6f0c-3e2b-4f0e-9a52-6b0a6f2f6a11",
            pid=4711,
        )
        yield Plan(t=self.now, tests=self.plan)
        for state, seconds in (("waiting", 0.1), ("leased", 0.4), ("booting", 0.2)):
            yield StateChanged(t=self.tick(seconds), state=state)
        yield self.ready(1)
        yield StateChanged(t=self.tick(0.1), state="running")
        for index, key in enumerate(self.plan):
            yield from self.case(index, key)
        yield Artifact(
            t=self.now, name="console", path="console.log", sha256="ab" * 32, kind="console"
        )
        yield StateChanged(t=self.tick(0.3), state="off")
        yield JobFinished(t=self.tick(0.1))

    def ready(self, boot: int) -> BoardReady:
        return BoardReady(
            t=self.tick(14.2),
            boot=boot,
            kernel="6.12.107+deb13-arm64",
            boot_s=round(13.9 + self.noise.random(), 2),
            facts={
                "machine": "aarch64",
                "model": "linux,dummy-virt",
                "cpus": "2",
                "memory_kib": "1014112",
                "cmdline": "console=ttyAMA0 panic=1" + (HOSTILE if self.trouble else ""),
            },
            topology=_topology(self.iommu),
        )

    def case(self, index: int, key: Key) -> Iterator[Event]:
        troubled = TROUBLE.get(index) if self.trouble and self.iommu else None
        if troubled is Verdict.MISS:
            return
        yield CaseStarted(t=self.tick(0.02), nodeid=key.nodeid)
        if troubled is Verdict.INFRA:
            finish = self.finish(key, Verdict.INFRA, "the control channel closed")
            yield finish.model_copy(update={"samples": [], "console": ["link lost"]})
            yield StateChanged(t=self.tick(2.0), state="rebooting")
            yield self.ready(2)
            yield CaseStarted(t=self.tick(0.1), nodeid=key.nodeid, attempt=2)
            yield self.finish(key, Verdict.PASS, "").model_copy(update={"attempt": 2})
            return
        if index == PANICS and self.trouble and self.iommu:
            yield Complaint(
                t=self.tick(0.2),
                pattern="oops",
                line=PANIC[1],
                nodeid=key.nodeid,
                fatal=True,
            )
            yield Complaint(
                t=self.tick(0.1), pattern="panic", line=PANIC[-1], nodeid=key.nodeid, fatal=True
            )
            yield self.finish(key, Verdict.FAIL, "kernel panic: Oops: Fatal exception").model_copy(
                update={"console": [*PANIC, HOSTILE], "samples": []}
            )
            yield StateChanged(t=self.tick(2.0), state="rebooting", detail="after a panic")
            yield self.ready(3)
            return
        yield self.finish(key, troubled or self.plain(key), _reason(troubled, key))

    def plain(self, key: Key) -> Verdict:
        if not self.iommu and key.suite == "constraints":
            return Verdict.SKIP
        return Verdict.PASS

    def finish(self, key: Key, verdict: Verdict, reason: str) -> CaseFinished:
        cell = {}
        importer = key.params.get("importer", "")
        if key.case == "share":
            refused = REFUSES.get(importer, "")
            if importer == "vivid-contig" and not key.params["exporter"].startswith("vivid-c"):
                refused = "EFAULT"
            outcome = "refused" if refused else "shared"
            if verdict is Verdict.FAIL:
                outcome, refused = "wrong", ""
            cell = {**key.params, "outcome": outcome, "errno": refused}
        if verdict is Verdict.SKIP and not reason:
            reason = "virt-noiommu declares no importer behind an IOMMU"
        seconds = round(0.01 + self.noise.random() * 0.2, 4)
        return CaseFinished(
            t=self.tick(seconds),
            nodeid=key.nodeid,
            verdict=verdict,
            reason=reason,
            duration_s=seconds,
            case_hash=hashlib.sha256(key.case.encode()).hexdigest()[:16],
            samples=[] if verdict is Verdict.SKIP else list(self.samples(key, importer)),
            absent=[
                AbsentEvent(
                    counter="pmu_cycles",
                    reason="perf_event_open: ENOENT, the kernel has no PMU driver for this CPU",
                ),
                *(
                    []
                    if self.iommu
                    else [AbsentEvent(counter="smmu_evtq", reason="no IRQ line named so")]
                ),
            ],
            cell=cell,
            observed=_observed(cell) if verdict is Verdict.NEW else {},
        )

    def samples(self, key: Key, importer: str) -> Iterator[SampleEvent]:
        maps = importer in MAPPING
        for phase in ("case", "first", "again"):
            for counter in COUNTERS:
                if counter == "smmu_evtq" and not self.iommu:
                    continue
                value = 0.0
                if counter.startswith("dma_") and "map" in counter and maps and phase != "again":
                    value = 1.0
                elif counter.startswith("iommu") and maps and self.iommu and phase != "again":
                    value = self.noise.choice([252.0, 252.0, 252.0, 253.0])
                elif counter == "page_faults":
                    value = 256.0 + self.noise.randrange(4)
                yield SampleEvent(
                    metric=counter, value=value, unit="count", params={"phase": phase}
                )
            base = {"case": 9_400_000, "first": 655_000, "again": 1_900}[phase]
            drift = 1.0 + 0.012 * self.number
            value = float(round(base * drift * self.noise.uniform(0.96, 1.04)))
            yield SampleEvent(metric="wall", value=value, unit="ns", params={"phase": phase})
        if key.case == "wake":
            for name, value in (("wake_p50", 41_000), ("wake_p99", 96_000), ("wake_max", 310_000)):
                yield SampleEvent(
                    metric=name,
                    value=float(round(value * self.noise.uniform(0.8, 1.3))),
                    unit="ns",
                    params={"phase": "wake"},
                )


TROUBLE = {
    3: Verdict.SKIP,
    5: Verdict.XFAIL,
    8: Verdict.XPASS,
    13: Verdict.ERROR,
    17: Verdict.INFRA,
    20: Verdict.FAIL,
    52: Verdict.FAIL,
    60: Verdict.NEW,
    70: Verdict.MISS,
    71: Verdict.MISS,
}
"""Which tests of the IOMMU board end otherwise than PASS, by their place in the plan."""

PANICS = 24
"""Which test of the IOMMU board meets a kernel panic."""


def _reason(verdict: Verdict | None, key: Key) -> str:
    reasons = {
        Verdict.SKIP: "virt-smmuv3 declares no codec",
        Verdict.XFAIL: "vmap_udmabuf maps the folio's head on 6.12",
        Verdict.XPASS: "expected to fail on 6.12, passed",
        Verdict.ERROR: "ControlError: dma_map_sg of phase 'first' is 0 where a map was expected",
        Verdict.NEW: "expectations.yaml has no row for it on Linux 6.12.107",
        Verdict.FAIL: f"assert again == 0: {key.case} mapped 254 times {HOSTILE}",
    }
    return reasons.get(verdict, "") if verdict else ""


def _observed(cell: dict[str, str]) -> dict[str, str]:
    seen = {"access": "*", "board": "", "kernel": "6.12.107+deb13-arm64", "attaches": "1"}
    return {**cell, **seen, "maps": "1"}


def _packages() -> list[Package]:
    named = (
        ("linux-image-6.12.107+deb13-arm64", "6.12.107-1"),
        ("dropbear-bin", "2025.88-2"),
        ("busybox-static", "1:1.37.0-6+b1"),
        ("libc6", "2.41-12"),
        ("zlib1g", "1:1.3.dfsg+really1.3.1-1+b1"),
    )
    return [
        Package(
            package=name,
            version=version,
            architecture="arm64",
            sha256=hashlib.sha256(name.encode()).hexdigest(),
        )
        for name, version in named
    ]


def _topology(iommu: bool) -> dict[str, object]:
    drivers = {
        "0000:00:01.0": "virtio-pci",
        "0000:00:02.0": "cirrus",
        "0000:00:03.0": "bochs-drm",
    }
    served = {"iommu": "smmu3.0x0000000009050000"} if iommu else {}
    groups = [
        {"id": str(index), "type": "DMA", "devices": [name]} for index, name in enumerate(drivers)
    ]
    return {
        "iommu_groups": groups if iommu else [],
        "devices": {
            name: {"driver": driver, "dma_mask_bits": "64", **served}
            for name, driver in drivers.items()
        },
        "drm": [
            {"node": "card0", "device": "0000:00:02.0", "pci": "0000:00:02.0", "driver": "cirrus"},
            {"node": "card1", "device": "0000:00:03.0", "pci": "0000:00:03.0"},
            {"node": "card2", "device": "vgem", "driver": "faux_driver"},
        ],
        "v4l2": [
            {"node": "video0", "name": "vivid-000-vid-cap", "device": "vivid.0"},
            {"node": "video1", "name": "vivid-001-vid-cap", "device": "vivid.1"},
        ],
        "heaps": ["default_cma_region", "system"],
        "udmabuf": {"device": "yes", "size_limit_mb": "64", "list_limit": "1024"},
        "memory_kib": {"MemTotal": "1014112", "CmaTotal": "65536", "CmaFree": "61184"},
        "board": {"model": "linux,dummy-virt", "kernel": "6.12.107+deb13-arm64"},
        "absent": {"max_segment_size": "the kernel has no sysfs attribute for it"},
    }
