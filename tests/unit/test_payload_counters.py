"""The payload's counters, on this machine: files, balances, what is left behind, what is absent."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm.board.console import LEFT_BEHIND
from farm.board.ktap import Block, parse_block
from farm.board.payload import Payload, build
from farm.counters.registry import registry


@pytest.fixture(scope="module")
def payload() -> Payload:
    return build("host")


def serve(payload: Payload, *lines: str) -> list[str]:
    """Return what a ``payload serve`` answers to these lines."""
    done = subprocess.run(
        [payload.path, "serve"],
        input="\n".join([*lines, "quit", ""]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def block_of(lines: list[str], case: str) -> Block:
    return parse_block("\n".join([*lines, ""]).encode(), case, "1")


def values(block: Block, name: str, phase: str = "case") -> dict[str, float]:
    return {one.of: one.value for one in block.samples if (one.name, one.phase) == (name, phase)}


def test_every_source_of_the_registry_is_known_to_the_payload(payload: Payload) -> None:
    specs = [f"{one.name}={spec}" for one in registry().values() for spec in one.specs[:1]]
    answers = serve(payload, f"counters {' '.join(specs)}")
    assert answers[-1] == "counters done"
    told = {line.split()[1]: line.split()[2] for line in answers if line.startswith("counter ")}
    assert told.keys() == {one.name for one in registry().values() if one.specs}
    for line in answers:
        assert not line.startswith("error ") and "unknown source" not in line
        assert " is not " not in line


def test_a_number_in_a_file_is_a_level_or_a_change(payload: Payload, tmp_path: Path) -> None:
    for name, text in (("policy0", "1400000\n"), ("policy4", "2200000\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "freq").write_text(text)
    (tmp_path / "memory").write_text("MemFree:  17 kB\nCmaFree:   64 kB\nCmaFreeX: 1 kB\n")
    asked = [
        f"clock=level:Hz:1000:{tmp_path}/policy*/freq",
        f"free=level:B:1024:{tmp_path}/memory#CmaFree",
        f"moved=change:B:1024:{tmp_path}/memory#CmaFree",
        f"none=level:B:1:{tmp_path}/nothing*",
        f"wordless=level:B:1:{tmp_path}/memory#Swap",
        f"textual=level:B:1:{tmp_path}/memory",
    ]
    lines = serve(payload, f"counters {' '.join(asked)}", "run 1 0 self_samples")
    absent = {line.split()[1]: line for line in lines if line.startswith("counter ")}
    assert absent["none"].endswith(f"absent there is no {tmp_path}/nothing*")
    assert absent["wordless"].endswith("memory has no number behind Swap")
    assert absent["textual"].endswith("memory has no number")
    block = block_of(lines, "self_samples")
    assert values(block, "clock") == {"policy0": 1.4e9, "policy4": 2.2e9}
    assert values(block, "free") == {"": 65536.0}
    assert values(block, "moved") == {"": 0.0}
    assert {one.unit for one in block.samples if one.name == "clock"} == {"Hz"}
    assert not values(block, "free", "first"), "files are read around cases, not around windows"


@pytest.mark.parametrize(
    "spec",
    [
        "x=level:B:1", "x=level:B:0:/a", "x=level:B:z:/a", "x=level:B:1:relative", "x=change:::/a",
        "x=pmu:a", "x=pmu:../a:b", "x=irqs:all", "x=bufinfo:all", "x=balance:a", "x=balance:a-b",
        "x=cache:l1",
    ],
)  # fmt: skip
def test_a_spec_of_another_form_is_absent(payload: Payload, spec: str) -> None:
    *_, answer, done = serve(payload, f"counters {spec}")
    assert answer.startswith(f"counter x absent '{spec[2:]}' is not ")
    assert done == "counters done"


def test_a_pmu_that_is_not_there_is_absent(payload: Payload) -> None:
    lines = serve(payload, "counters tlb=pmu:smmuv3_pmcg_*:tlb_miss", "run 1 0 self_pass must=x")
    reason = "no such PMU: nothing matches /sys/bus/event_source/devices/smmuv3_pmcg_*"
    assert f"counter tlb absent {reason}" in lines
    assert block_of(lines, "self_pass").absent == {}


def test_a_case_by_hand_says_itself_what_is_absent(payload: Payload) -> None:
    command = [payload.path, "run", "self_pass", "--counter", "none=irq:no-such-line"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert parse_block(done.stdout, "self_pass", "manual").absent == {
        "none": "no line of /proc/interrupts contains 'no-such-line'"
    }


def test_a_balance_of_absent_counters_is_absent_for_their_reason(payload: Payload) -> None:
    made = "made=irq:no-such-line"
    lines = serve(payload, f"counters {made} gone=sw:3 left=balance:made-gone")
    assert "counter left absent made: no line of /proc/interrupts contains 'no-such-line'" in lines


def test_what_is_left_behind_is_told_once_it_had_time_to_go(payload: Payload) -> None:
    """Control: a case that takes page faults that nothing takes back, and its opposite."""
    asked = "counters faults=sw:2 unaligned=sw:7"
    leaks = f"{asked} left=balance:faults-unaligned"
    run = "run 1 0 self_pass must=x"
    with ThreadPoolExecutor() as pool:  # two of them wait for what is left behind to go
        leaking = pool.submit(serve, payload, leaks, run)
        watched = pool.submit(serve, payload, leaks, "evidence begin", run, "evidence end")
        tidy = pool.submit(serve, payload, f"{asked} gone=balance:unaligned-faults", run)
    lines = leaking.result()
    if any(line.startswith("counter faults absent") for line in lines):
        pytest.skip("this machine lets no one count")
    block = block_of(lines, "self_pass")
    assert block.outcome == "pass"
    (leak,) = (line for line in block.dmesg if line.startswith(LEFT_BEHIND))
    assert leak.startswith(f"{LEFT_BEHIND}left: ") and leak.endswith(" count left after 2000 ms")
    assert values(block, "left")[""] > 0

    *_, leak, done = watched.result()
    assert leak.startswith("# leak left ") and done == "evidence done"

    dmesg = block_of(tidy.result(), "self_pass").dmesg
    assert not any(line.startswith(LEFT_BEHIND) for line in dmesg)


def test_evidence_that_was_not_begun_is_refused(payload: Payload) -> None:
    refused = "error expected evidence begin, then evidence end"
    assert serve(payload, "evidence end")[-1] == refused
    assert serve(payload, "evidence begin", "evidence end", "evidence end")[-1] == refused
    assert serve(payload, "evidence soon")[-1] == refused


FDINFO = """\
pos:\t0
flags:\t02400002
drm-driver:\tpanfrost
drm-client-id:\t3
drm-engine-fragment:\t1846584880 ns
drm-cycles-fragment:\t1424359409
drm-engine-capacity-vertex:\t2
drm-maxfreq-fragment:\t799999987 Hz
drm-total-memory:\t290 MiB
drm-resident-memory:\t64 KiB
drm-resident-\t1 KiB
drm-engine-bad name:\t1 ns
"""


def test_what_a_driver_tells_of_an_open_file(payload: Payload, tmp_path: Path) -> None:
    (tmp_path / "fdinfo").write_text(FDINFO)
    lines = serve(payload, f"run 1 0 evidence_fdinfo file={tmp_path}/fdinfo")
    block = block_of(lines, "evidence_fdinfo")
    assert block.outcome == "pass" and not block.absent
    told = {(one.name, one.of, one.unit): one.value for one in block.samples if one.of}
    assert told == {
        ("drm_engine_time", "fragment", "ns"): 1846584880,
        ("drm_cycles", "fragment", "count"): 1424359409,
        ("drm_memory_total", "memory", "B"): 290 << 20,
        ("drm_memory_resident", "memory", "B"): 64 << 10,
    }


def test_a_driver_that_tells_nothing_is_absent_with_that_reason(
    payload: Payload, tmp_path: Path
) -> None:
    (tmp_path / "fdinfo").write_text("drm-driver:\tvgem\n")
    lines = serve(payload, f"run 1 0 evidence_fdinfo file={tmp_path}/fdinfo")
    assert block_of(lines, "evidence_fdinfo").absent == {
        "drm_engine_time": "the driver's fdinfo has no drm-engine or drm-total"
    }
