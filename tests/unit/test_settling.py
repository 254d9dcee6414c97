"""Which verdict stands where a run tried a test in several jobs."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nights import job_of, keep, nodeid

from farm.analysis import run_summary, unsettled
from farm.model import Purpose, Verdict
from farm.settling import LEFT_OPEN, Part, in_order, standing
from farm.store import Store, list_runs, load_run, open_store

FAIL, INFRA, MISS, PASS = Verdict.FAIL, Verdict.INFRA, Verdict.MISS, Verdict.PASS
RETRY, REPEAT = Purpose.RETRY, Purpose.REPEAT
TESTS = ("one", "two", "three")


def part(job: str, purpose: Purpose = Purpose.FIRST, *follows: str, **verdicts: Verdict) -> Part:
    return Part(job, purpose, follows, True, verdicts)


def test_a_retry_settles_what_was_open_and_nothing_else() -> None:
    stands = standing(
        [
            part("a", one=INFRA, two=FAIL, three=MISS),
            part("b.retry", RETRY, "a", one=PASS, two=PASS, three=INFRA),
        ]
    )
    assert stands == {"a": {"two", "three"}, "b.retry": {"one"}}


def test_what_a_repeat_sees_does_not_count() -> None:
    stands = standing([part("a", one=FAIL), part("a.repeat", REPEAT, "a", one=PASS)])
    assert stands == {"a": {"one"}, "a.repeat": frozenset()}


def test_a_job_that_never_got_to_its_plan_is_made_good_by_its_retry() -> None:
    dead = Part("a", Purpose.FIRST, (), False, {})
    retry = part("b.retry", RETRY, "a", one=PASS)
    assert standing([dead, retry]) == {"a": frozenset(), "b.retry": {"one"}}
    assert in_order([dead, retry])
    assert not in_order([dead])
    assert not in_order([dead, part("b.repeat", REPEAT, "a", one=PASS)])


verdicts = st.dictionaries(st.sampled_from(TESTS), st.sampled_from(list(Verdict)))


@given(st.tuples(verdicts, verdicts), st.lists(st.tuples(verdicts, st.booleans()), max_size=3))
def test_every_planned_test_stands_and_settled_ones_stay(
    first: tuple[dict[str, Verdict], ...], later: list[tuple[dict[str, Verdict], bool]]
) -> None:
    parts = [Part(f"a{number}", Purpose.FIRST, (), True, one) for number, one in enumerate(first)]
    parts += [
        Part(f"r{number}", RETRY if retry else REPEAT, ("a0", "a1"), True, one)
        for number, (one, retry) in enumerate(later)
    ]
    stands = standing(parts)
    for job in parts:
        assert stands[job.job] <= set(job.verdicts)
        assert job.purpose is not REPEAT or not stands[job.job]
    planned = {nodeid for one in first for nodeid in one}
    assert planned <= {nodeid for mine in stands.values() for nodeid in mine}
    for job in parts[:2]:
        kept = {nodeid for nodeid, verdict in job.verdicts.items() if verdict not in LEFT_OPEN}
        assert kept <= stands[job.job]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "farm.db"))


JOBS = (
    job_of({"one": INFRA, "two": FAIL, "three": MISS}, reason="the board is gone"),
    job_of({"one": PASS, "three": PASS}, board="b", purpose=RETRY, follows=["virt-smmuv3-1"]),
    job_of({"two": [PASS, FAIL]}, purpose=REPEAT, follows=["virt-smmuv3-1"]),
)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_store_marks_what_counts_in_whichever_order_journals_come(
    store: Store, tmp_path: Path, order: tuple[int, ...]
) -> None:
    run = keep(store, tmp_path, [JOBS[index] for index in order])
    keep(store, tmp_path, [JOBS[order[0]]])
    record = load_run(store, run)
    counting = {job.job: {one.nodeid for one in job.final_tests} for job in record.jobs}
    assert counting == {
        "virt-smmuv3-1": {nodeid("two")},
        "b.retry": {nodeid("one"), nodeid("three")},
        "virt-smmuv3-1.repeat": set(),
    }
    assert sum(len(job.tests) for job in record.jobs) == 6  # nothing is lost
    summary = run_summary(store, run)
    assert (summary.verdicts, summary.exit) == ({FAIL: 1, PASS: 2}, 1)
    assert [test.nodeid for _, test in unsettled(record)] == [nodeid("two")]
    assert list_runs(store)[0].ok


def test_a_run_whose_gaps_were_all_settled_is_in_order(store: Store, tmp_path: Path) -> None:
    first = job_of({"one": INFRA, "two": PASS}, reason="the board is gone")
    run = keep(store, tmp_path, [first])
    assert run_summary(store, run).exit == 3
    keep(store, tmp_path, [JOBS[1]])
    assert run_summary(store, run).exit == 0
