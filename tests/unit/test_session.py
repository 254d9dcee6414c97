"""Sessions: what ended a case is told apart, and the board is trusted again only after a boot."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_board import (
    Answer,
    ScriptedConsole,
    ScriptedLink,
    ScriptedPayload,
    block,
    cut,
    passes,
    silent,
    small_payload,
)

from farm.board.complaints import Ledger
from farm.board.payload import CaseInfo
from farm.board.result import BoardHung, CaseComplaint, CommandFailed
from farm.board.session import BoardSession
from farm.counters.registry import Counter
from farm.errors import ControlError, LinkLost, ProtocolError
from farm.inventory import Limits
from farm.model import Absent, Better, Metric

PANIC = "[    9.0] Kernel panic - not syncing: Fatal exception"
WARNING = "[    8.0] WARNING: CPU: 0 PID: 1 at drivers/dma-buf/dma-buf.c:1 f+0x0/0x10"
LOGGED = f"# dmesg warn {WARNING.partition('] ')[2]}\n"
COUNTERS = (
    Counter(Metric("maps", "count", Better.LOWER, "x.c"), ("tp:dma:map", "kprobe:map")),
    Counter(Metric("cycles", "count", Better.LOWER, "x.c"), ("tp:pmu:cycles",)),
    Counter(Metric("wall", "ns", Better.LOWER, "clock")),
)


class Bench:
    """A session with what it stands on."""

    def __init__(self, folder: Path, cases: dict[str, Answer], absent: str = "") -> None:
        self.console = ScriptedConsole()
        self.payload: ScriptedPayload | None = None
        self.link = ScriptedLink(self.start)
        self._cases, self._absent = cases, absent
        self.session = BoardSession(
            link=self.link,
            console=self.console,
            ledger=Ledger(self.console),
            payload=small_payload(folder),
            limits=Limits(boot_s=90, command_s=0.5, case_s=0.5, reboots=3),
            counters=COUNTERS,
        )

    def start(self) -> ScriptedPayload:
        self.payload = ScriptedPayload(self._cases, absent=self._absent)
        return self.payload

    def payload_says(self, case: str, *lines: str) -> None:
        """Have lines come while a case runs that passes."""

        def answer(payload: ScriptedPayload, run_id: str, case: str) -> str:
            self.console.say(*lines)
            return block(case, run_id)

        self._cases[case] = answer


def said(bench: Bench) -> list[str]:
    return [entry.event.pattern for entry in bench.session.ledger.hand_over()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    cases: dict[str, Answer] = {}
    made = Bench(tmp_path, cases)

    def says(*lines: str) -> Answer:
        def answer(payload: ScriptedPayload, run_id: str, case: str) -> str:
            made.console.say(*lines)
            return silent(payload, run_id, case)

        return answer

    def warns(payload: ScriptedPayload, run_id: str, case: str) -> str:
        made.console.say(WARNING)
        return block(case, run_id)

    def logs(payload: ScriptedPayload, run_id: str, case: str) -> str:
        return block(case, run_id, extra=LOGGED)

    def warns_and_logs(payload: ScriptedPayload, run_id: str, case: str) -> str:
        made.console.say(WARNING)
        return logs(payload, run_id, case)

    def panics_and_drops(payload: ScriptedPayload, run_id: str, case: str) -> str:
        made.console.say("before", PANIC, "trace 1", "trace 2")
        return cut(payload, run_id, case)

    cases.update(
        passes=passes,
        fails=lambda payload, run_id, case: block(case, run_id, " # why", "fail"),
        cut=cut,
        panics=says("before", PANIC, "trace 1"),
        panics_and_drops=panics_and_drops,
        resets=says("[    0.0] Booting Linux on physical CPU 0x0"),
        warns=warns,
        logs=logs,
        warns_and_logs=warns_and_logs,
        logs_and_fails=lambda payload, run_id, case: block(
            case, run_id, " # own reason", "fail", extra=LOGGED
        ),
        garbled=lambda payload, run_id, case: block(case, run_id).replace("seq=0", "seq=1"),
    )
    made.session.open()
    return made


def test_result_of_a_case(bench: Bench) -> None:
    result = bench.session.run("passes", {})
    assert (result.outcome, result.case_hash) == ("pass", "0123456789abcdef")
    assert result.value("wall") == result.counter("wall") == 5
    assert bench.session.run("fails", {}).reason == "why"


def test_a_slow_kernel_has_patience_for_limits_of_tests_and_cases(bench: Bench) -> None:
    own = CaseInfo("fails", "suite", "", "suite/a.c", 1, 60_000, {}, "0123456789abcdef")
    bench.session.payload = replace(bench.session.payload, cases=(own,))
    bench.session.limits = bench.session.limits.slowed(4)
    bench.session.run("passes", {}, timeout_s=70)
    bench.session.run("passes", {})
    bench.session.run("fails", {})
    assert bench.payload is not None
    told = [line.split()[2:4] for line in bench.payload.commands if line.startswith("run ")]
    assert told == [["280000", "passes"], ["2000", "passes"], ["240000", "fails"]]


def test_counter_that_is_not_there_is_never_zero(bench: Bench) -> None:
    result = bench.session.run("passes", {})
    with pytest.raises(ControlError, match="no such metric"):
        result.counter("maps")
    with pytest.raises(ControlError, match="phases with it: case"):
        result.counter("wall", phase="first")


@pytest.mark.parametrize("case", ["panics", "panics_and_drops"])
def test_a_dead_kernel_is_the_cases_failure(bench: Bench, case: str) -> None:
    with pytest.raises(CaseComplaint, match=r"the kernel died.*Fatal exception") as caught:
        bench.session.run(case, {})
    assert caught.value.fatal
    assert caught.value.excerpt[:3] == ("before", PANIC, "trace 1")
    assert not bench.session.alive


def test_a_reset_is_the_cases_failure(bench: Bench) -> None:
    with pytest.raises(CaseComplaint, match="the board reset itself"):
        bench.session.run("resets", {})


def test_a_lost_link_is_not_the_cases_failure(bench: Bench) -> None:
    with pytest.raises(LinkLost, match="the console says nothing"):
        bench.session.run("cut", {})
    assert not bench.session.alive
    with pytest.raises(LinkLost, match="the session has ended"):
        bench.session.run("passes", {})


def test_garbled_output_is_never_a_pass(bench: Bench) -> None:
    with pytest.raises(ProtocolError):
        bench.session.run("garbled", {})
    assert not bench.session.alive


def test_a_complaint_fails_a_case_that_passed(bench: Bench) -> None:
    with pytest.raises(CaseComplaint) as caught:
        bench.session.run("warns", {})
    assert not caught.value.fatal
    assert caught.value.result is not None and caught.value.result.outcome == "pass"
    assert bench.session.alive and bench.session.run("passes", {}).outcome == "pass"


def test_a_complaint_that_only_the_log_has_counts_too(bench: Bench) -> None:
    with pytest.raises(CaseComplaint, match="warning"):
        bench.session.run("logs", {})
    assert said(bench) == ["warning"]


def test_a_complaint_in_both_places_is_one(bench: Bench) -> None:
    with pytest.raises(CaseComplaint):
        bench.session.run("warns_and_logs", {})
    assert said(bench) == ["warning"]


LEAK = "# leak dma_buf_left 1 count left after 2000 ms; there now: udmabuf of 4096 bytes\n"


@pytest.mark.parametrize("outcome", ["pass", "skip"])
def test_a_leak_fails_a_case_whatever_it_says(bench: Bench, outcome: str) -> None:
    result = " # SKIP nothing" if outcome == "skip" else ""
    bench._cases["good"] = lambda payload, run_id, case: block(case, run_id, result, outcome, LEAK)
    with pytest.raises(
        CaseComplaint, match=r"\(leak\): left behind by the case: dma_buf_left: 1"
    ) as seen:
        bench.session.run("good", {})
    assert not seen.value.fatal and bench.session.alive
    assert said(bench) == ["leak"]


def test_a_leak_on_purpose_is_tolerated(bench: Bench) -> None:
    bench._cases["good"] = lambda payload, run_id, case: block(case, run_id, extra=LEAK)
    assert bench.session.run("good", {}, tolerate=["leak"]).outcome == "pass"
    assert [entry.excused for entry in bench.session.ledger.hand_over()] == [True]


def test_a_line_that_comes_late_is_not_the_next_cases(bench: Bench) -> None:
    with pytest.raises(CaseComplaint):
        bench.session.run("logs", {})
    bench.payload_says("passes", WARNING)
    assert bench.session.run("passes", {}).outcome == "pass"
    bench.console.say("[    8.5] and the next line of it")
    assert said(bench) == ["warning"]


def test_a_late_line_stands_for_one_complaint_only(bench: Bench) -> None:
    assert bench.session.run("logs", {}, tolerate=["warning"]).outcome == "pass"
    bench.payload_says("passes", WARNING, WARNING.replace("8.0", "8.9"))
    with pytest.raises(CaseComplaint, match=r"8\.9"):
        bench.session.run("passes", {})
    assert said(bench) == ["warning", "warning"]


def test_a_case_that_failed_keeps_its_own_reason(bench: Bench) -> None:
    assert bench.session.run("logs_and_fails", {}).reason == "own reason"


def test_a_complaint_that_is_provoked_is_tolerated(bench: Bench) -> None:
    assert bench.session.run("warns", {}, tolerate=["warning"]).outcome == "pass"


def test_a_silent_board_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    channel, payload = bench.session._channel, bench.payload
    assert channel is not None and payload is not None
    monkeypatch.setattr(channel, "_clock", payload.clock)
    payload.cases["hangs"] = silent
    bench.link.alive = False
    with pytest.raises(BoardHung, match="silent, too"):
        bench.session.run("hangs", {})


def test_payload_is_pushed_once(bench: Bench, tmp_path: Path) -> None:
    assert bench.session.pushed
    again = BoardSession(
        link=bench.link,
        console=bench.console,
        ledger=Ledger(bench.console),
        payload=bench.session.payload,
        limits=bench.session.limits,
        counters=COUNTERS,
    )
    again.open()
    assert not again.pushed


def test_counters_have_other_ways_and_say_what_failed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {}, absent="tp:")
    bench.session.open()
    assert bench.payload is not None
    asked = [line for line in bench.payload.commands if line.startswith("counters")]
    assert asked == ["counters maps=tp:dma:map |kprobe:map cycles=tp:pmu:cycles"]
    assert bench.session.absent == {"cycles": "no tp:pmu:cycles"}


def test_each_result_says_what_the_board_cannot_count(tmp_path: Path) -> None:
    def passes_without_maps(payload: ScriptedPayload, run_id: str, case: str) -> str:
        return block(case, run_id, extra="# absent counter=maps reason=multiplexed\n")

    bench = Bench(tmp_path, {"one": passes, "other": passes_without_maps}, absent="tp:pmu")
    bench.session.open()
    first, second = bench.session.run("one", {}), bench.session.run("other", {})
    assert first.absent == (Absent("cycles", "no tp:pmu:cycles"),)
    assert second.absent == (*first.absent, Absent("maps", "multiplexed"))


def test_topology_and_kernel(bench: Bench) -> None:
    assert bench.session.kernel.at_least(6, 12)
    assert bench.session.topology["iommu_groups"] == [
        {"id": "0", "type": "DMA", "devices": ["0000:00:01.0"]}
    ]


def test_command_of_a_test(bench: Bench) -> None:
    assert bench.session.command("uname") == "ran uname\n"
    with pytest.raises(CommandFailed, match="status 1"):
        bench.session.command("false")
    bench.link.alive = False
    with pytest.raises(LinkLost):
        bench.session.command("uname")


def test_what_a_kernel_is_known_for_fails_nothing(bench: Bench) -> None:
    bench.session.ledger = Ledger(bench.console, known=[re.compile(r"dma-buf\.c:1 f")])
    assert bench.session.run("warns_and_logs", {}).outcome == "pass"
    (told,) = bench.session.ledger.hand_over()
    assert told.excused and told.event.pattern == "warning"
    bench.payload_says("other", WARNING.replace("dma-buf.c:1", "dma-buf.c:2"))
    with pytest.raises(CaseComplaint, match=r"dma-buf\.c:2"):
        bench.session.run("other", {})
