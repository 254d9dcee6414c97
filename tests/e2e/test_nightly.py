"""A night on virtual boards: one breaks, a retry learns the verdicts, a repeat judges a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from receivers import mail_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

STUCK, WELL = "virt-noiommu-1", "virt-noiommu-2"
SUITE = """\
import pytest

def _times(seen=[]):
    seen.append(1)
    return len(seen)

@pytest.mark.requirement("MAP-9")
@pytest.mark.case("self_samples")
def test_good(board):
    board.run("self_samples", count=2)

@pytest.mark.requirement("SHR-3")
@pytest.mark.case("self_samples")
def test_first_time(board):
    board.run("self_samples", count=2)
    assert _times() > 1, "the first of each job"
"""
PLAN = """\
description: two tests on one board of a type
boards: [virt-noiommu]
suites: [nights]
time_box: 1h
retry: {new: 3}
tell:
  - mail: [lab@example.org]
"""


def test_a_night_with_a_board_that_breaks(own_farm: Any) -> None:
    own_farm.own_suite("nights", SUITE)
    plan = own_farm.folder / "short.yaml"
    plan.write_text(PLAN)
    up = own_farm.call(
        "lab", "up", "--boards", "virt-noiommu=2", "--fault", f"{STUCK}=outlet-stuck"
    )
    assert up.returncode == 0, up.stderr
    with mail_server() as mails:
        own_farm.variables["FARM_SMTP"] = f"smtp://127.0.0.1:{mails.port}"
        night = own_farm.json("nightly", str(plan))
    assert night["exit"] == 1 and night["verdicts"] == {"FAIL": 1, "PASS": 1}
    assert [job["job"] for job in night["jobs"]] == [STUCK, f"{WELL}.retry", f"{WELL}.repeat"]
    (flaky,) = night["flaky"]
    assert flaky["judgement"]["text"] == f"flaky (2 of 4): failed 2 of 4 times on {WELL}"
    assert (night["new"], night["not_run"]) == ([], [])
    rows = {row["test"]: row for row in own_farm.json("show")["cases"]}
    assert rows["test_good"]["board"] == WELL
    assert rows["test_good"]["judgement"]["text"].startswith("retried: MISS on ")
    assert rows["test_first_time"]["verdict"] == "FAIL"
    assert Path(night["morning"]).is_file() and Path(night["report"]).is_file()
    (letter,) = mails.letters
    assert "1 flaky" in letter["Subject"]
    assert own_farm.leases() == []
