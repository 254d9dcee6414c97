"""Programs of somebody else's on a virtual board: the kernel's own selftest of udmabuf, and IGT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from farm import events

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

TEST = "external/test_kselftests.py::test_kselftest[drivers/dma-buf:udmabuf]"


def test_each_test_of_a_selftest_is_a_case(own_farm: Any) -> None:
    out = own_farm.folder / "out"
    done = own_farm.json("run", TEST, "--board", "virt-smmuv3", "--out", str(out))
    assert done["exit"] == 0, done
    (job,) = done["jobs"]
    assert job["verdicts"] == {"PASS": 5, "XFAIL": 2}

    cases = own_farm.json("show", done["run"])["cases"]
    shown = {case["params"].get("within", ""): case for case in cases}
    assert set(shown) == {"", *(f"test-{number}" for number in range(1, 6)), "#6"}
    for within in ("", "#6"):  # the program, which ended early, and the test at which it did
        assert shown[within]["verdict"] == "XFAIL"
        assert "huge pages" in shown[within]["reason"]
        assert "told of 5" in shown[within]["reason"]

    told = list(events.read_journal(Path(job["journal"])))
    plans = [event.tests for event in told if isinstance(event, events.Plan)]
    assert [len(tests) for tests in plans] == [1, 6]
    artifacts = {event.name: event for event in told if isinstance(event, events.Artifact)}
    folder = Path(job["journal"]).parent
    printed = (folder / artifacts["drivers_dma-buf_udmabuf.log"].path).read_text()
    assert printed.startswith("TAP version 13\n1..6\n")
    (name,) = (one for one in artifacts if one.startswith("kselftests-"))
    provenance = json.loads((folder / artifacts[name].path).read_text())
    kernel = job["kernel"].partition("+")[0].partition("-")[0]
    source = provenance["made_of"][0]
    assert source["package"] == f"linux-source-{kernel.rpartition('.')[0]}"
    assert source["version"].startswith(kernel)
    finished = [event for event in told if isinstance(event, events.CaseFinished)]
    assert {event.case_hash for event in finished} == {provenance["id"]}

    junit = own_farm.call("export", done["run"], "--format", "junit").stdout
    assert "udmabuf]@test-5" in junit and "skipped" in junit


@pytest.mark.slow  # it fetches seventy packages first
def test_igt_runs_through_an_emulator(own_farm: Any) -> None:
    choice = ("external/test_igt.py", "-k", "vgem", "--board", "virt-smmuv3")
    done = own_farm.json("run", *choice, "--image", "debian-13")
    assert done["exit"] == 0, done
    (job,) = done["jobs"]
    assert set(job["verdicts"]) <= {"PASS", "SKIP", "XFAIL"}

    cases = own_farm.json("show", done["run"])["cases"]
    verdicts = {case["params"].get("within", ""): case["verdict"] for case in cases}
    assert verdicts[""] == "PASS"
    for within in ("vgem_basic@dmabuf-export", "dmabuf_sync_file@export-basic"):
        assert verdicts[within] == "PASS"
    told = list(events.read_journal(Path(job["journal"])))
    artifacts = {event.name: event for event in told if isinstance(event, events.Artifact)}
    folder = Path(job["journal"]).parent
    made_of = json.loads((folder / artifacts["igt.json"].path).read_text())["made_of"]
    found = {(row["package"], row["architecture"]) for row in made_of}
    assert {("igt-gpu-tools-tests", "amd64"), ("box64", "arm64")} <= found
    assert "(x86_64)" in (folder / artifacts["igt_vgem_vgem_basic.log"].path).read_text()
