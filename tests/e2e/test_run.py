"""``farm run`` on virtual boards, in order and through every kind of sudden death."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.lab.coordinator import Coordinator
from tests.support.documented import documented

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
QUICK = ("mapcache", "-k", "second_import")


def test_a_run_without_a_lab_goes_from_power_off_to_a_report(own_farm: Any) -> None:
    out = own_farm.folder / "out"
    done = own_farm.json("run", *QUICK, "--out", str(out))
    assert (done["schema"], done["exit"]) == (1, 0)
    assert {job["board_type"] for job in done["jobs"]} == {"virt-smmuv3", "virt-noiommu"}
    for job in done["jobs"]:
        assert set(done) | set(job) == documented("farm run --json")
        assert set(job["verdicts"]) == {"PASS", "SKIP"}
        assert job["kernel"].startswith("6.")
        told = list(events.read_journal(Path(job["journal"])))
        assert isinstance(told[0], events.JobStarted)
        assert told[0].hardware["emulator"].startswith("qemu-")
        assert told[0].image.packages
        states = [event.state for event in told if isinstance(event, events.StateChanged)]
        assert (states[0], states[-2:]) == ("waiting", ["off", "released"])
        assert isinstance(told[-1], events.JobFinished)
        assert told[-1].ok
    assert done["run"] in Path(done["report"]).read_text()
    shown = own_farm.json("show", done["run"])
    assert len(shown["cases"]) == sum(sum(job["verdicts"].values()) for job in done["jobs"])
    assert own_farm.leases() == []
    assert own_farm.await_end_of_all() == []


def test_a_list_of_tests_boots_nothing(own_farm: Any) -> None:
    listed = own_farm.json("run", "mapcache", "--list")
    by_type = {row["board_type"]: row["tests"] for row in listed["board_types"]}
    assert set(by_type) == {"virt-smmuv3", "virt-noiommu"}
    for tests in by_type.values():
        assert {"nodeid", "requirements"} == set(tests[0])
        assert any("MAP-1" in test["requirements"] for test in tests)
    assert own_farm.processes() == []


def test_a_held_board_is_refused_with_its_holder(own_farm: Any) -> None:
    assert own_farm.call("lab", "up").returncode == 0
    address = own_farm.json("boards")["coordinator"]
    with Coordinator(address, "desk/alice") as alice:
        alice.acquire("virt-smmuv3-1")
        done = own_farm.call("run", *QUICK, "--board", "virt-smmuv3", "--json")
        assert (done.returncode, done.stdout) == (3, "")
        assert "1 board matches: 1 held by desk/alice" in done.stderr
        assert " next: " in done.stderr
        assert alice.place("virt-smmuv3-1").holder == "desk/alice"


def test_a_wrong_driver_is_told_before_anything_starts(own_farm: Any) -> None:
    project = own_farm.folder / "project"
    shutil.copytree(ROOT / "board-configs", project / "board-configs")
    (project / "testsuites").symlink_to(ROOT / "testsuites")
    config = project / "board-configs" / "virt-smmuv3.yaml"
    config.write_text(config.read_text().replace("RecordedSerialDriver", "RecordedSerialDrivr"))
    line = config.read_text()[: config.read_text().index("Drivr")].count("\n") + 1
    own_farm.variables["FARM_ROOT"] = str(project)
    for words in (("run", *QUICK), ("run", "--list")):
        done = own_farm.call(*words)
        assert (done.returncode, done.stdout) == (2, "")
        told = " ".join(done.stderr.split())
        assert f"virt-smmuv3.yaml:{line}: targets.main.drivers.RecordedSerialDrivr: unknown" in told
        assert "did you mean 'RecordedSerialDriver'?" in told
    assert own_farm.processes() == []


def test_a_board_that_never_boots_harms_no_other_job(own_farm: Any) -> None:
    project = own_farm.folder / "project"
    shutil.copytree(ROOT / "board-configs", project / "board-configs")
    (project / "testsuites").symlink_to(ROOT / "testsuites")
    config = project / "board-configs" / "virt-noiommu.yaml"
    config.write_text(re.sub(r"boot_s: \d+", "boot_s: 6", config.read_text()))
    own_farm.variables["FARM_ROOT"] = str(project)
    lab = own_farm.json("lab", "up")["lab"]
    url = next(b["fault_url"] for b in lab["boards"] if b["place"] == "virt-noiommu-1")
    put = urllib.request.Request(url, data=b"no-boot", method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(put).close()
    done = own_farm.json("run", *QUICK)
    jobs = {job["board"]: job for job in done["jobs"]}
    assert done["exit"] == 3
    assert set(jobs["virt-smmuv3-1"]["verdicts"]) == {"PASS", "SKIP"}
    assert jobs["virt-noiommu-1"]["kernel"] == ""
    assert set(jobs["virt-noiommu-1"]["verdicts"]) <= {"INFRA", "MISS"}
    told = list(events.read_journal(Path(jobs["virt-noiommu-1"]["journal"])))
    assert isinstance(told[-1], events.JobFinished)
    assert "the console is silent" in told[-1].reason
    reasons = [
        case["reason"]
        for case in own_farm.json("show", "last")["cases"]
        if case["board"] == "virt-noiommu-1" and case["verdict"] == "INFRA"
    ]
    assert "the console is silent" in reasons[0]
    assert not any(row["holder"] for row in own_farm.json("boards")["boards"])


def test_a_killed_worker_harms_no_other_job(own_farm: Any) -> None:
    own_farm.call("lab", "up")
    out = own_farm.folder / "out"
    process = own_farm.start("run", "mapcache", "--out", str(out), "--json")
    victim = own_farm.journal(out, "virt-noiommu-1")
    started = own_farm.await_event(victim, events.JobStarted)
    own_farm.await_event(victim, events.CaseFinished)
    os.kill(started.pid, signal.SIGKILL)
    said, told = process.communicate()
    assert process.returncode == 3, told
    jobs = {job["board"]: job["verdicts"] for job in json.loads(said)["jobs"]}
    assert set(jobs["virt-smmuv3-1"]) == {"PASS", "SKIP"}
    assert jobs["virt-noiommu-1"]["MISS"] > 0
    await_free_boards(own_farm)


def test_a_killed_keeper_ends_its_job_and_frees_the_board(own_farm: Any) -> None:
    own_farm.call("lab", "up")
    out = own_farm.folder / "out"
    process = own_farm.start("run", "mapcache", "--board", "virt-smmuv3", "--out", str(out))
    journal = own_farm.journal(out, "virt-smmuv3-1")
    own_farm.await_event(journal, events.CaseFinished)
    (record,) = own_farm.leases()
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode == 3, told
    last = list(events.read_journal(journal))[-1]
    assert isinstance(last, events.JobFinished)
    assert last.reason == "the keeper of virt-smmuv3-1 died"
    await_free_boards(own_farm)


def test_a_job_killed_with_its_keeper_leaves_its_board_off_and_free(own_farm: Any) -> None:
    lab = own_farm.json("lab", "up", "--boards", "virt-smmuv3=1")["lab"]
    out = own_farm.folder / "out"
    process = own_farm.start("run", "mapcache", "--out", str(out))
    journal = own_farm.journal(out, "virt-smmuv3-1")
    started = own_farm.await_event(journal, events.JobStarted)
    own_farm.await_event(journal, events.CaseFinished)
    (record,) = own_farm.leases()
    keeper = json.loads(record.read_text())["pid"]
    os.kill(keeper, signal.SIGSTOP)  # neither may see the other die
    os.kill(started.pid, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode == 3, told
    assert "virt-smmuv3-1: switched off and released" in told
    assert own_farm.leases() == []
    (row,) = own_farm.json("boards")["boards"]
    assert (row["holder"], row["state"]) == ("", "free")
    outlet = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with outlet.open(lab["boards"][0]["power_url"]) as answer:
        assert answer.read() == b"0"


def await_free_boards(own_farm: Any) -> None:
    """Wait until no board is held and no lease recorded."""
    pause = threading.Event()
    while own_farm.leases() or any(row["holder"] for row in own_farm.json("boards")["boards"]):
        pause.wait(0.1)


def test_a_killed_run_leaves_its_journals_and_can_be_finished(own_farm: Any) -> None:
    out = own_farm.folder / "out"
    process = own_farm.start("run", "mapcache", "--out", str(out))
    journal = own_farm.journal(out, "virt-smmuv3-1")
    own_farm.await_event(journal, events.CaseFinished, 3)
    process.kill()
    process.communicate()
    assert own_farm.await_end_of_all() == []
    assert own_farm.leases() == []
    taken = own_farm.json("ingest", str(out))
    assert {one["job"] for one in taken["journals"]} >= {"virt-smmuv3-1"}
    cases = own_farm.json("show", "last")["cases"]
    verdicts = [case["verdict"] for case in cases if case["board"] == "virt-smmuv3-1"]
    kept = sum(verdict in ("PASS", "SKIP") for verdict in verdicts)
    assert kept >= 3
    assert "MISS" in verdicts
    resumed = own_farm.json("resume")  # in a lab like the one that went with its controller
    assert resumed["exit"] == 0
    assert all(set(job["verdicts"]) <= {"PASS", "SKIP"} for job in resumed["runs"][0]["jobs"])
    again = list(events.read_journal(journal))
    done = [event.nodeid for event in again if isinstance(event, events.CaseFinished)]
    assert len(set(done)) == len(done) >= kept
    assert [event.boot for event in again if isinstance(event, events.BoardReady)] == [1, 2]
    after = own_farm.json("show", "last")["cases"]
    assert len(after) == len(cases) and {case["verdict"] for case in after} <= {"PASS", "SKIP"}
    assert own_farm.json("resume") == {"schema": 1, "exit": 0, "runs": []}


def test_an_interrupt_ends_in_order_and_keeps_the_results(own_farm: Any) -> None:
    own_farm.call("lab", "up")
    out = own_farm.folder / "out"
    process = own_farm.start("run", "mapcache", "--board", "virt-smmuv3", "--out", str(out))
    journal = own_farm.journal(out, "virt-smmuv3-1")
    own_farm.await_event(journal, events.CaseFinished, 2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 3, told
    assert "stopping: boards go off" in told
    happened = list(events.read_journal(journal))
    last = happened[-1]
    assert isinstance(last, events.JobFinished)
    assert (last.ok, last.reason) == (False, "stopped by the user")
    states = [event.state for event in happened if isinstance(event, events.StateChanged)]
    assert states[-2:] == ["off", "released"]
    assert own_farm.leases() == []
    assert all(not row["holder"] for row in own_farm.json("boards")["boards"])
    failed = own_farm.json("run", "--failed", "last")
    assert failed["exit"] == 0
    ran = sum(failed["jobs"][0]["verdicts"].values())
    plan = next(event for event in happened if isinstance(event, events.Plan))
    assert 0 < ran < len(plan.tests)
    recorded = own_farm.json("logs", "virt-smmuv3-1")
    assert (recorded["run"], recorded["running"]) == (failed["run"], False)
    assert any("Booting Linux on physical CPU" in line["text"] for line in recorded["lines"])
    seen = {row["board"]: row for row in own_farm.json("watch")["boards"]}["virt-smmuv3-1"]
    assert (seen["state"], seen["running"], seen["job"]["done"]) == ("free", False, ran)
