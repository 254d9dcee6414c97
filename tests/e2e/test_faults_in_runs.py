"""``farm run`` on boards that break while it runs: whose verdict it is, and whose it is not."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.lab.faults import Fault
from farm.model import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SUITE = """\
import pytest

@pytest.mark.case("self_pass")
def test_before(board):
    board.run("self_pass", must="x")

@pytest.mark.case("kernel_panic")
def test_panics_on_one(board):
    if board.type.name == "virt-noiommu":
        board.run("kernel_panic")
    board.run("self_pass", must="x")

@pytest.mark.case("self_pass")
def test_after(board):
    board.run("self_pass", must="x")
"""


def put(url: str, fault: Fault) -> None:
    request = urllib.request.Request(url, data=fault.value.encode(), method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def finished(told: list[events.Event]) -> list[events.CaseFinished]:
    return [event for event in told if isinstance(event, events.CaseFinished)]


def test_a_panic_on_one_board_leaves_the_others_job_alone(own_farm: Any) -> None:
    own_farm.own_suite("panicking", SUITE)
    done = own_farm.json("run", "panicking")
    jobs = {job["board"]: job for job in done["jobs"]}
    assert done["exit"] == 1
    assert jobs["virt-noiommu-1"]["verdicts"] == {"PASS": 2, "FAIL": 1}
    assert jobs["virt-smmuv3-1"]["verdicts"] == {"PASS": 3}
    told = {name: list(events.read_journal(Path(job["journal"]))) for name, job in jobs.items()}
    for name, boots in (("virt-noiommu-1", 2), ("virt-smmuv3-1", 1)):
        assert sum(isinstance(event, events.BoardReady) for event in told[name]) == boots
        assert {event.attempt for event in finished(told[name])} == {1}
        last = told[name][-1]
        assert isinstance(last, events.JobFinished) and last.ok
    (failed,) = [one for one in finished(told["virt-noiommu-1"]) if one.verdict is Verdict.FAIL]
    assert "Kernel panic" in failed.reason
    assert not any(isinstance(event, events.Complaint) for event in told["virt-smmuv3-1"])


def test_garbage_on_the_serial_line_is_nobodys_failure(own_farm: Any) -> None:
    lab = own_farm.json("lab", "up", "--boards", "virt-smmuv3=1")["lab"]
    put(lab["boards"][0]["fault_url"], Fault.SERIAL_GARBAGE)
    done = own_farm.json("run", "mapcache", "-k", "second_import")
    (job,) = done["jobs"]
    assert (done["exit"], set(job["verdicts"])) == (0, {"PASS", "SKIP"})
    journal = Path(job["journal"])
    told = list(events.read_journal(journal))
    assert {event.attempt for event in finished(told)} == {1}
    assert not any(isinstance(event, events.Complaint) for event in told)
    raw = (journal.parent / "console.raw").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        raw.decode()  # there was garbage
    (journal.parent / "console.log").read_text(encoding="utf-8")


def test_a_stalled_link_is_the_labs_fault_and_the_test_runs_again(own_farm: Any) -> None:
    config = own_farm.own_project() / "board-configs" / "virt-smmuv3.yaml"
    config.write_text(re.sub(r"case_s: \d+", "case_s: 5", config.read_text()))
    lab = own_farm.json("lab", "up", "--boards", "virt-smmuv3=1")["lab"]
    url = lab["boards"][0]["fault_url"]
    out = own_farm.folder / "out"
    process = own_farm.start("run", "mapcache", "--out", str(out))
    journal = own_farm.journal(out, "virt-smmuv3-1")
    own_farm.await_event(journal, events.BoardReady)
    put(url, Fault.SSH_STALL)
    stalled, count = None, 0
    while stalled is None or stalled.verdict is not Verdict.INFRA:
        count += 1
        stalled = own_farm.await_event(journal, events.CaseFinished, count)
    put(url, Fault.NONE)
    _, said = process.communicate()
    assert process.returncode == 0, said
    told = list(events.read_journal(journal))
    attempts = [
        (one.attempt, one.verdict) for one in finished(told) if one.nodeid == stalled.nodeid
    ]
    assert attempts == [(1, Verdict.INFRA), (2, Verdict.PASS)]
    assert "answer" in stalled.reason or "silent" in stalled.reason
    others = [one for one in finished(told) if one.nodeid != stalled.nodeid]
    assert {one.attempt for one in others} == {1}
    assert {one.verdict for one in others} == {Verdict.PASS, Verdict.SKIP}
    assert sum(isinstance(event, events.BoardReady) for event in told) == 2
