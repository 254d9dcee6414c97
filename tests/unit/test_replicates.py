"""Replicates: from several runs of a test to one verdict, its samples, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import events
from farm.again import again, all_again
from farm.analysis.trend import trends
from farm.events import Effort, SampleEvent
from farm.model import WORST_FIRST, Verdict, amount
from farm.report.json import show
from farm.run.journal import JournalWriter
from farm.run.view import JobView
from farm.store import ingest, load_run, open_store
from farm.store.fold import RUNNING
from farm.store.records import TestRecord

NODEID = "sync/test_stress.py::test_it[udmabuf]"
Told = tuple[Verdict, str, float]


def job(effort: Effort) -> events.JobStarted:
    return events.JobStarted(
        run="run",
        job="virt-smmuv3-1",
        board="virt-smmuv3-1",
        board_type="virt-smmuv3",
        image=events.ImageInfo(profile="debian-13"),
        hardware={"emulator": "qemu"},
        effort=effort,
    )


def replicates(*told: Told, attempt: int = 1, cut: bool = False) -> list[events.Event]:
    found: list[events.Event] = []
    for number, (verdict, reason, value) in enumerate(told):
        one = {"nodeid": NODEID, "attempt": attempt, "replicate": number}
        sample = SampleEvent(metric="wall", value=value, unit="ns", params={"phase": "first"})
        found += [
            events.CaseStarted(**one),
            events.CaseFinished(
                **one,
                verdict=verdict,
                reason=reason,
                duration_s=1.0,
                samples=[sample],
                console=[reason],
                seeded=True,
                decisions="beef",
            ),
        ]
    return found[:-1] if cut else found


def stored(tmp_path: Path, happened: Sequence[events.Event], effort: Effort) -> TestRecord:
    key = events.Key(nodeid=NODEID, suite="sync", test="test_it", case="churn")
    with JournalWriter.create(tmp_path / "journal.jsonl") as journal:
        for event in [job(effort), events.Plan(tests=[key]), *happened]:
            journal.write(event)
    with open_store(str(tmp_path / "farm.db")) as store:
        ingest(tmp_path / "journal.jsonl", store)
        record = load_run(store, "run")
    assert show(record)["cases"][0]["again"].startswith("farm run ")
    (test,) = record.jobs[0].final_tests
    return test


PASS, FAIL = (Verdict.PASS, "", 10.0), (Verdict.FAIL, "torn", 30.0)


def test_the_worst_verdict_counts_and_says_how_often(tmp_path: Path) -> None:
    test = stored(tmp_path, replicates(PASS, FAIL, PASS, FAIL, PASS), Effort(seed=7, repeat=5))
    assert (test.verdict, test.reason) == (Verdict.FAIL, "2 of 5 replicates: torn")
    assert [one.verdict.value[0] for one in test.replicates] == list("PFPFP")
    assert (test.console, test.duration_s, test.decisions) == (("torn",), 5.0, "beef")


def test_every_replicate_of_a_sample_is_kept_and_the_median_counts(tmp_path: Path) -> None:
    told = [(Verdict.PASS, "", value) for value in (40.0, 10.0, 20.0)]
    test = stored(tmp_path, replicates(*told), Effort(seed=7, repeat=3))
    assert [(one.value, one.replicate) for one in test.samples] == [(40, 0), (10, 1), (20, 2)]
    assert len({one.series for one in test.samples}) == 1
    (trend,) = trends(test, {}, "run")
    assert (trend.value, trend.spread, trend.replicates) == (20, 10, (40, 10, 20))


def test_a_replicate_that_was_cut_short_leaves_the_others(tmp_path: Path) -> None:
    test = stored(tmp_path, replicates(PASS, PASS, cut=True), Effort(seed=7, repeat=2))
    assert (test.verdict, test.reason) == (Verdict.INFRA, f"1 of 2 replicates: {RUNNING}")
    assert [one.value for one in test.samples] == [10]


def test_one_replicate_is_the_test_itself(tmp_path: Path) -> None:
    test = stored(tmp_path, replicates(FAIL), Effort(seed=7))
    assert (test.verdict, test.reason, test.replicates) == (Verdict.FAIL, "torn", ())


def test_a_second_attempt_has_replicates_of_its_own(tmp_path: Path) -> None:
    lost = (Verdict.INFRA, "silence", 1.0)
    happened = replicates(PASS, lost) + replicates(PASS, PASS, attempt=2)
    test = stored(tmp_path, happened, Effort(seed=7, repeat=2))
    assert (test.verdict, test.attempt, len(test.replicates)) == (Verdict.PASS, 2, 2)
    view = JobView("board")
    for event in happened:
        view.add(event)
    assert view.last[NODEID].verdict is Verdict.PASS
    assert view.first_reasons == ["1 of 2 replicates: silence"]
    assert [one.reason for one in view.told if one.reason] == [
        "silence (replicate 2)",
        " (replicate 2)",
    ]


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=9))
def test_progress_and_store_agree_on_what_replicates_amount_to(verdicts: list[Verdict]) -> None:
    view = JobView("board")
    for event in replicates(*((verdict, verdict.value, 0.0) for verdict in verdicts)):
        view.add(event)
    found, reason = amount([(verdict, verdict.value) for verdict in verdicts])
    assert (view.last[NODEID].verdict, view.last[NODEID].reason) == (found, reason)
    assert found is min(verdicts, key=WORST_FIRST.index)
    alike = verdicts.count(found)
    expected = found.value if alike == len(verdicts) else f"{alike} of {len(verdicts)} replicates: "
    assert reason.startswith(expected)


# --- the command that runs it again ---------------------------------------------------------------


def test_again_is_one_shell_command() -> None:
    words = shlex.split(
        again(
            NODEID,
            board="virt-smmuv3-2",
            board_type="virt-smmuv3",
            hardware={"emulator": "qemu"},
            image="debian-13",
            argv=["run", "sync", "--driver", "my driver.ko", "--kernel=Image", "--out", "x"],
            effort=Effort(seed=7, stress_s=0.5, repeat=9),
        )
    )
    assert words == [
        *("farm", "run", NODEID, "--board", "virt-smmuv3", "--image", "debian-13"),
        *("--driver", "my driver.ko", "--kernel=Image", "--seed", "7", "--stress-seconds", "0.5"),
    ]


def test_all_again_boots_what_was_booted() -> None:
    own = ["farm run a --board b --image i --driver 'my driver.ko'"]
    assert all_again("r", own * 5) == "farm run --failed r --image i --driver 'my driver.ko'"
    assert all_again("r", [*own, "farm run a --board c --image j"]) == "farm run --failed r"


@pytest.mark.parametrize("effort", [None, Effort()])
def test_without_a_seed_nothing_is_said_of_stress(effort: Effort | None) -> None:
    said = again(
        NODEID, board="desk-3", board_type="rock-5b", hardware={}, image="plain", effort=effort
    )
    assert "--seed" not in said and "--stress-seconds" not in said
    assert "--board desk-3" in said, "a board of hardware is one of its own"
