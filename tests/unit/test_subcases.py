"""Tests within a test: planned when they are known, told to journal and pytest alike."""

from __future__ import annotations

from pathlib import Path

from farm import events
from farm.model import TestKey, Verdict
from farm.pytest_plugin.subcases import SubCase, events_of, parents
from farm.run.journal import JournalWriter
from farm.run.view import JobView
from farm.store.fold import fold_journal

PARENT = "external/test_kselftests.py::test_kselftest[sync:sync_test]"
KEY = TestKey(PARENT, "external", "test_kselftest", "", {"selftest": "sync:sync_test"}, ("SYN-11",))
FOUND = [
    SubCase("a", Verdict.PASS, hash="0123456789abcdef"),
    SubCase("b", Verdict.XFAIL, "known", 0.5),
    SubCase("c", Verdict.MISS, "it never ran"),
]


def test_their_ids_lead_back_to_their_test() -> None:
    wanted = ["sync/test_a.py::test_x[1]", f"{PARENT}@a", f"{PARENT}@node@b/c", "a/test_a.py::test"]
    assert parents(wanted) == ("sync/test_a.py::test_x[1]", PARENT, "a/test_a.py::test")


def journal(folder: Path) -> list[events.Event]:
    start = events.JobStarted(
        run="r", job="j", board="b", board_type="virt-smmuv3", image=events.ImageInfo(profile="p")
    )
    return [
        start,
        events.Plan(tests=[events.Key.of(KEY)]),
        events.CaseStarted(nodeid=PARENT),
        events.CaseFinished(nodeid=PARENT, verdict=Verdict.PASS),
        *events_of(KEY, 1, 0, FOUND),
        events.JobFinished(),
    ]


def test_the_store_has_each_with_its_test_and_requirements(tmp_path: Path) -> None:
    with JournalWriter.create(tmp_path / "journal.jsonl") as writer:
        for event in journal(tmp_path):
            writer.write(event)
    tests = {test.nodeid: test for test in fold_journal(tmp_path / "journal.jsonl").job.tests}
    assert list(tests) == [PARENT, *(f"{PARENT}@{one.name}" for one in FOUND)]
    row = tests[f"{PARENT}@b"]
    assert (row.suite, row.test) == ("external", "test_kselftest")
    assert (row.verdict, row.reason, row.duration_s) == (Verdict.XFAIL, "known", 0.5)
    assert row.params == {"selftest": "sync:sync_test", "within": "b"}
    assert row.requirements == ("SYN-11",)
    assert tests[f"{PARENT}@a"].case_hash == "0123456789abcdef"


def test_progress_counts_them(tmp_path: Path) -> None:
    view = JobView("b")
    for event in journal(tmp_path):
        view.add(event)
    assert len(view.planned) == view.done == 4
    assert view.final_counts() == {Verdict.PASS: 2, Verdict.XFAIL: 1, Verdict.MISS: 1}


def test_a_second_attempt_is_the_tests_and_not_that_of_those_within(tmp_path: Path) -> None:
    told = journal(tmp_path)
    again: list[events.Event] = [
        events.CaseStarted(nodeid=PARENT, attempt=2),
        events.CaseFinished(nodeid=PARENT, attempt=2, verdict=Verdict.PASS),
        *events_of(KEY, 2, 0, FOUND),
    ]
    told[-1:-1] = again
    view = JobView("b")
    with JournalWriter.create(tmp_path / "journal.jsonl") as writer:
        for event in told:
            view.add(event)
            writer.write(event)
    job = fold_journal(tmp_path / "journal.jsonl").job
    assert len(view.first_reasons) == len(job.first_reasons) == 1
    assert len(job.final_tests) == 4 and len(job.tests) == 8


def test_a_test_without_any_tells_nothing_more() -> None:
    assert list(events_of(KEY, 1, 0, [])) == []
