"""Console recogniser: a sample line per pattern, and indifference to how bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.board.console import BOOT_BANNER, MAX_LINE, PATTERNS, Matcher, Recogniser, escape

SAMPLES = {
    "leak": "left behind by the case: dma_buf_left: 1 count left after 2000 ms",
    "panic": "[    4.6] Kernel panic - not syncing: sysrq triggered crash",
    "oops": "[   12.1] Internal error: Oops: 0000000096000005 [#1] SMP",
    "kernel_fault": "[   12.0] Unable to handle kernel NULL pointer dereference at 0008",
    "kernel_bug": "[   12.0] kernel BUG at drivers/dma-buf/dma-buf.c:42!",
    "internal_error": "[   12.1] Internal error: synchronous external abort: 0000000096000410 [#1]",
    "kasan": "[    9.1] BUG: KASAN: slab-use-after-free in dma_resv_fini+0x10/0x20",
    "kfence": "[    9.1] BUG: KFENCE: out-of-bounds read in foo+0x1/0x2",
    "ubsan": "[    9.1] UBSAN: array-index-out-of-bounds in drivers/gpu/drm/x.c:12:3",
    "soft_lockup": "[   60.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [payload:99]",
    "hard_lockup": "[   60.0] watchdog: Watchdog detected hard LOCKUP on cpu 1",
    "rcu_stall": "[   60.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "lockdep": "[    3.0] WARNING: possible circular locking dependency detected",
    "memory_leak": "[  612.3] kmemleak: 3 new suspected memory leaks (see /sys/…)",
    "dma_api": "[  197.9] DMA-API: misc udmabuf: device driver syncs DMA memory with different di…",
    "warning": "[    4.1] WARNING: CPU: 0 PID: 1 at drivers/dma-buf/dma-buf.c:1 f+0x0/0x10",
    "slab": "[    9.2] BUG kmalloc-64 (Not tainted): Left Redzone overwritten",
    "bug": "[    4.1] BUG: sleeping function called from invalid context at mm/slab.h:1",
    "hung_task": "[  242.6] INFO: task payload:123 blocked for more than 120 seconds.",
    "out_of_memory": "[   30.0] Out of memory: Killed process 77 (payload) total-vm:1kB",
    "smmu_event": "[    5.5] arm-smmu-v3 9050000.smmuv3: event 0x10 received:",
    "smmu_context_fault": "[    5.5] arm-smmu 2b400000.iommu: Unhandled context fault: fsr=0x2",
    "no_network": "farm: no network card: the kernel has no driver for it (virtio_net, virtio_pci)",
    "loader_crash": '"Synchronous Abort" handler, esr 0x96000010, far 0x0',
    "uboot_banner": "U-Boot 2025.01-3+deb13u1 (Jun 24 2026 - 09:07:15 +0000)",
    "uboot_spl_banner": "U-Boot SPL 2024.10-rc2-00017-g0a1b2c3 (Oct 01 2024 - 12:00:00 +0000)",
    BOOT_BANNER: "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
}

HARMLESS = (
    "[    1.3] DMA-API: preallocated 65536 debug entries",
    "[  197.9] DMA-API: Mapped at:",
    "[  197.9] WARNING: CPU: 0 PID: 123 at kernel/dma/debug.c:1129 check_sync+0x834/0xa34",
    "[    4.9] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
    "[    0.0] Kernel command line: console=ttyAMA0 panic=10 oops=panic",
    "[    2.0] ubsan: enabled",
    "[    1.0] arm-smmu-v3 9050000.smmuv3: ias 44-bit, oas 44-bit (features 0x00000305)",
    "root@board:~# echo hello",
    "[    1.2] rcu: Hierarchical RCU implementation.",
    "[    0.0] DMI: Pine64 RockPro64, BIOS U-Boot 2024.10 10/01/2024",
    "Hit any key to stop autoboot:  2",
)


def test_every_pattern_has_a_sample() -> None:
    assert {row.name for row in PATTERNS} == set(SAMPLES)


@pytest.mark.parametrize(
    "said",
    [
        "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
        "WARNING: lock held when returning to user space!",
        "WARNING: payload/77 still has locks held!",
        "INFO: trying to register non-static key.",
    ],
)
def test_whatever_lockdep_says_is_lockdep(said: str) -> None:
    row = Matcher().match(f"[    3.0] {said}")
    assert row is not None and row.name == "lockdep"


def test_too_many_mappings_are_told_by_the_dma_api() -> None:
    said = "[  306.6] DMA-API: exceeded 7 overlapping mappings of cacheline 0x0000000001c549c0"
    row = Matcher().match(said)
    assert row is not None and row.name == "dma_api"


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_recognised_as_itself(name: str) -> None:
    row = Matcher().match(SAMPLES[name])
    assert row is not None and row.name == name


def test_other_warning_forms_are_warnings() -> None:
    row = Matcher().match("[    4.1] WARNING: drivers/base/dd.c:12 at really_probe+0x1/0x2, CPU#0")
    assert row is not None and row.name == "warning"


@pytest.mark.parametrize("line", HARMLESS)
def test_harmless_lines_are_no_complaints(line: str) -> None:
    assert Matcher().match(line) is None


def test_board_types_own_pattern() -> None:
    row = Matcher([("fan", r"fan \d stopped")]).match("fan 2 stopped")
    assert row is not None and (row.name, row.fatal) == ("fan", False)


lines = st.one_of(st.sampled_from(sorted(SAMPLES.values())).map(str.encode), st.binary(max_size=80))


@given(
    stream=st.lists(lines, max_size=12).map(b"\r\n".join),
    cuts=st.lists(st.integers(min_value=0, max_value=600), max_size=12),
)
def test_any_chunking_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    whole, pieces = Recogniser(), Recogniser()
    expected = [whole.feed(stream), whole.flush()]
    seen_lines: list[str] = []
    seen_events = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for start, end in itertools.pairwise(edges):
        new_lines, new_events = pieces.feed(stream[start:end])
        seen_lines += new_lines
        seen_events += new_events
    last_lines, last_events = pieces.flush()
    assert seen_lines + last_lines == [line for part in expected for line in part[0]]
    assert seen_events + last_events == [event for part in expected for event in part[1]]


def test_endless_line_is_cut() -> None:
    recogniser = Recogniser()
    lines_seen = [line for _ in range(40) for line in recogniser.feed(b"x" * 1000)[0]]
    assert lines_seen == ["x" * MAX_LINE] * (40_000 // MAX_LINE)
    assert len(recogniser.partial) == 40_000 % MAX_LINE


def test_control_characters_are_escaped() -> None:
    assert escape(b"a\x1b[31m\x00\xff\tb") == "a\\x1b[31m\\x00\\xff\tb"
    assert escape("ä→".encode()) == "ä→"


@given(st.binary(max_size=200))
def test_escaped_text_is_printable(data: bytes) -> None:
    assert escape(data).replace("\t", "").isprintable()
