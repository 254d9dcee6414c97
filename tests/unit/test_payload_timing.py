"""Nothing is counted while times are taken, and everything again after it: perf's own events."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from farm.board.ktap import parse_block
from farm.board.payload import build

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


def test_the_clock_is_read_without_a_system_call() -> None:
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if not source.exists() or source.read_text().strip() not in ("tsc", "arch_sys_counter"):
        pytest.skip("this machine's clock can be read by its kernel only")
    done = subprocess.run(
        [build("host").path, "run", "self_clock"], capture_output=True, timeout=60
    )
    block = parse_block(done.stdout, "self_clock", "manual")
    assert block.outcome == "pass", block.reason
