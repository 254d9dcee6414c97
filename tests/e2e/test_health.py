"""Boards that fail are quarantined with the reason, and re-admitted once they are well."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WELL, STUCK = "virt-noiommu-1", "virt-noiommu-2"
SAID = "the outlet was told to switch on, and 10 s later says that it is off"


def boards(own_farm: Any) -> dict[str, dict[str, Any]]:
    return {row["board"]: row for row in own_farm.json("boards")["boards"]}


def checked(own_farm: Any, *words: str) -> dict[str, tuple[str, str]]:
    rows = own_farm.json("board", "check", *words)["boards"]
    return {row["board"]: (row["result"], row["reason"]) for row in rows}


def test_quarantine_after_infra_and_re_admission(own_farm: Any) -> None:
    types = ("--boards", "virt-noiommu=2")
    up = own_farm.call("lab", "up", *types, "--fault", f"{STUCK}=outlet-stuck")
    assert up.returncode == 0, up.stderr

    run = own_farm.call("run", "mapcache", "-k", "second_import", "--board", STUCK)
    assert run.returncode == 3
    assert f"{STUCK}: checking the board, since a test on it ended in INFRA" in run.stderr
    assert f"{STUCK}: quarantined" in run.stderr
    row = boards(own_farm)[STUCK]
    assert row["state"] == "quarantined"
    assert row["health"]["failures"] == 3 and row["health"]["reason"] == SAID
    assert any(SAID[:60] in note for note in row["notes"])
    assert boards(own_farm)[WELL]["state"] == "free"

    found = checked(own_farm, "--due")  # the other one was never looked at; this one has to wait
    assert found == {WELL: ("well", "")}
    assert checked(own_farm, "--due") == {}
    result, reason = checked(own_farm, STUCK)[STUCK]
    assert result == "quarantined" and f"4 failures in a row, the last: {SAID}" in reason

    assert own_farm.call("lab", "up", *types, "--fault", f"{STUCK}=none").returncode == 0
    assert checked(own_farm, STUCK) == {STUCK: ("re-admitted", "")}
    assert boards(own_farm)[STUCK]["state"] == "free"
    assert own_farm.leases() == []


def test_qualification_reports_times_and_failures(own_farm: Any) -> None:
    up = own_farm.call(
        *("lab", "up", "--boards", "virt-noiommu=2", "--boards", "virt-exact=1"),
        *("--fault", f"{STUCK}=outlet-stuck"),
    )
    assert up.returncode == 0, up.stderr
    good = own_farm.json("board", "qualify", WELL, "--boots", "2")
    assert (good["exit"], good["passed"], good["failed"], good["failures"]) == (0, 2, 0, [])
    times = [boot["boot_s"] for boot in good["boots"]]
    assert good["boot_s"]["min"] == min(times) > 0 and good["boot_s"]["max"] == max(times)
    exact = own_farm.json("board", "qualify", "virt-exact-1", "--boots", "1")
    assert (exact["exit"], exact["passed"]) == (0, 1)

    bad = own_farm.call("board", "qualify", STUCK, "--boots", "2")
    assert bad.returncode == 3
    assert f"{STUCK}: 2 boots, 0 good, 2 failed" in bad.stdout
    assert SAID[:40] in " ".join(bad.stdout.split())
    assert boards(own_farm)[STUCK]["state"] == "free", "a qualification quarantines nothing"

    own_farm.json("board", "quarantine", WELL, "--reason", "on the desk")
    assert boards(own_farm)[WELL]["state"] == "quarantined"
    assert checked(own_farm, "--due")[STUCK][0] == "quarantined"
    assert own_farm.json("board", "readmit", WELL)["health"]["quarantined"] == 0
    assert own_farm.call("board", "check", "virt-noiommu-9").returncode == 2
