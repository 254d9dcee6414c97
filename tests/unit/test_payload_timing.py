"""Nothing is counted while times are taken, and everything again after it: perf's own events."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from farm.board.ktap import Block, parse_block
from farm.board.payload import build
from farm.board.result import CaseResult
from farm.errors import ControlError

FOLDER = Path(__file__).parents[1] / "support" / "pausing"


@pytest.mark.parametrize("leader", ["kept", "pausing"])
def test_what_pauses_stands_still_and_goes_on(leader: str) -> None:
    payload = build("host", extra=[FOLDER], only="pausing/pausing.c")
    command = [payload.path, "run", "pausing", f"leader={leader}"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    block = parse_block(done.stdout, "pausing", "manual")
    if block.outcome == "skip":
        pytest.skip(f"this machine lets no one count: {block.reason}")
    assert block.outcome == "pass", block.reason
    told = {when: tuple(map(int, text.split())) for when, text in block.info.items()}
    pausing = {when: one for when, (one, _) in told.items()}
    kept = {when: one for when, (_, one) in told.items()}
    assert pausing["started"] < pausing["counted"] <= pausing["paused"]
    assert pausing["timed"] == pausing["paused"]
    assert pausing["again"] > pausing["timed"]
    assert kept["paused"] < kept["timed"] < kept["again"], "balances need these whole"


def blocks_of(when: str) -> tuple[Block, Block]:
    """Return what a case tells that takes times ``when``, and what its harness tells around it."""
    payload = build("host", extra=[FOLDER], only="pausing/pausing.c")
    command = [payload.path, "run", "pausing_block", f"when={when}"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    windows = parse_block(done.stdout, "pausing_block", "manual")
    if windows.outcome == "skip":
        pytest.skip(f"this machine lets no one count: {windows.reason}")
    assert windows.outcome == "pass", windows.reason
    told = [line for line in done.stdout.splitlines() if line.startswith(b"# output ")]
    whole = b"".join(line.removeprefix(b"# output ") + b"\n" for line in told)
    return windows, parse_block(whole, "pausing_block", "1")


def counted_in(block: Block, phase: str) -> set[str]:
    return {one.name for one in block.samples if one.phase == phase}


@pytest.mark.parametrize("when", ["never", "before"])
def test_what_never_paused_is_counted_in_the_whole_case(when: str) -> None:
    windows, whole = blocks_of(when)
    assert counted_in(whole, "case") == {"wall", "kept", "pausing", "left"}
    assert not whole.absent and not windows.absent
    assert len(whole.dmesg) == 1, "control: what is left is a leak"


@pytest.mark.parametrize("when", ["between", "until-its-end"])
def test_what_paused_between_windows_is_absent_from_the_whole_case_only(when: str) -> None:
    windows, whole = blocks_of(when)
    assert counted_in(whole, "case") == {"wall", "kept"}
    assert whole.absent == {
        "paused": "while times were taken, and so not counted for the whole case: pausing, left"
    }
    assert not whole.dmesg, "half a balance is no leak"
    for phase in ("first", "again"):
        assert counted_in(windows, phase) == {"wall", "kept", "pausing"}
    assert not windows.absent
    result = CaseResult.of(whole)
    with pytest.raises(ControlError, match="pausing could not be counted: while times were taken"):
        result.counter("pausing")
    with pytest.raises(ControlError, match="no sample 'times' in phase 'case'"):
        result.counter("times")


@pytest.mark.parametrize(("when", "phase"), [("meanwhile", "overlapped"), ("around", "paused")])
def test_a_window_with_a_pause_in_it_does_not_tell_what_paused(when: str, phase: str) -> None:
    windows, whole = blocks_of(when)
    assert counted_in(whole, "case") == {"wall", "kept"}
    assert counted_in(windows, phase) == {"wall", "kept"}
    assert windows.absent == {"pausing": "paused while times were taken"}


def test_the_clock_is_read_without_a_system_call() -> None:
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if not source.exists() or source.read_text().strip() not in ("tsc", "arch_sys_counter"):
        pytest.skip("this machine's clock can be read by its kernel only")
    done = subprocess.run(
        [build("host").path, "run", "self_clock"], capture_output=True, timeout=60
    )
    block = parse_block(done.stdout, "self_clock", "manual")
    assert block.outcome == "pass", block.reason
