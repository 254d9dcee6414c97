"""What a run tries again, and on which boards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nights import job_name, job_of, keep, nodeid

from farm.events import Effort, ImageInfo, JobFinished, Plan
from farm.model import Purpose, Verdict
from farm.run.followups import MAX_REPEATED, Rules, repeats, retries, spec_of
from farm.run.job import STOPPED, TIME_BOX, JobSpec
from farm.run.orchestrator import Job
from farm.run.view import Follower, JobView
from farm.store import open_store
from farm.store.earlier import Where, earlier, last_told
from farm.store.queries import load_run

FAIL, INFRA, MISS, PASS = Verdict.FAIL, Verdict.INFRA, Verdict.MISS, Verdict.PASS
A, B, C = "virt-smmuv3-1", "virt-smmuv3-2", "virt-smmuv3-3"


def spec(board: str, purpose: Purpose = Purpose.FIRST) -> JobSpec:
    return JobSpec(
        run="r",
        job=job_name(board, purpose),
        coordinator="127.0.0.1:1",
        board=board,
        board_type="virt-smmuv3",
        config=Path("virt-smmuv3.yaml"),
        image=ImageInfo(profile="debian-13"),
        suites=["mapcache"],
        folder=Path("/runs/r") / job_name(board, purpose),
        effort=Effort(seed=7, stress_s=1.0),
        purpose=purpose,
    )


def over(
    board: str,
    tests: dict[str, Verdict],
    reason: str = "",
    *,
    lost: bool = False,
    dead: bool = False,
) -> Job:
    """Return a job that is over; ``dead`` says that nobody could end its journal."""
    view = JobView(board)
    told = job_of(tests, board=board, reason=reason, lost=lost)
    for event in told[:-1] if dead else told:
        view.add(event)
    view.close("the job's worker was killed")
    return Job(spec(board), view, Follower(Path("none")))


def at_hand(*names: str) -> Callable[[JobSpec], list[str]]:
    return lambda spec: list(names)


def everything_is_new(spec: JobSpec, nodeid: str) -> bool:
    return True


def test_what_was_left_open_is_retried_on_another_board() -> None:
    job = over(A, {"one": PASS, "two": INFRA, "three": MISS, "four": FAIL}, "the board is gone")
    (found,) = retries([job], at_hand(A, B))
    assert (found.board, found.follows) == (B, [A])
    assert found.tests == [nodeid("two"), nodeid("three")]


def test_without_another_board_the_same_is_tried_once_more() -> None:
    (found,) = retries([over(A, {"one": INFRA})], at_hand(A))
    assert (found.board, found.tests) == (A, [nodeid("one")])


def test_a_board_that_was_in_trouble_itself_comes_last() -> None:
    jobs = [over(A, {"one": INFRA}), over(B, {"one": INFRA}), over(C, {"one": PASS})]
    (found,) = retries(jobs, at_hand(A, B, C))
    assert (found.board, found.follows, found.tests) == (C, [A, B], [nodeid("one")])


@pytest.mark.parametrize(
    "job",
    [
        over(A, {"one": PASS, "two": FAIL}),
        over(A, {"one": FAIL, "two": MISS}, "my.ko does not load"),
        over(A, {"one": PASS, "two": MISS}, TIME_BOX),
        over(A, {"one": INFRA, "two": MISS}, TIME_BOX),
        over(A, {"one": PASS, "two": MISS}, STOPPED),
    ],
    ids=["settled", "driver under test", "time box", "time box after trouble", "stopped"],
)
def test_what_another_try_would_not_settle_is_left(job: Job) -> None:
    assert retries([job], at_hand(A, B)) == []


@pytest.mark.parametrize("how", [{"lost": True}, {"dead": True}], ids=["told", "not told"])
def test_a_dead_worker_leaves_its_rest_to_a_retry(how: dict[str, bool]) -> None:
    """Also where it died between two tests, so that none of them is INFRA."""
    job = over(A, {"one": PASS, "two": MISS, "three": FAIL}, "was killed by SIGKILL", **how)
    (found,) = retries([job], at_hand(B))
    assert found.tests == [nodeid("two")]


def test_a_lost_job_that_left_nothing_open_is_not_retried() -> None:
    job = over(A, {"one": PASS, "two": FAIL}, "the board does not go off", lost=True)
    assert retries([job], at_hand(A, B)) == []


@pytest.mark.parametrize(("lost", "number"), [(True, 1), (False, 0)])
def test_a_job_that_was_lost_before_its_plan_is_tried_as_a_whole(lost: bool, number: int) -> None:
    """One that could not collect its tests, or had none, is helped by no board."""
    job = Job(spec(A).model_copy(update={"select": ["x"]}), JobView(A), Follower(Path("none")))
    job.view.add(JobFinished(ok=False, reason="no plan", lost=lost))
    found = retries([job], at_hand(B))
    assert len(found) == number
    for one in found:
        made = spec_of(one, spec(B), Purpose.RETRY)
        assert (made.job, made.select, made.follows) == (f"{B}.retry", ["x"], [A])


def test_a_new_failure_is_repeated_on_its_board_and_on_another() -> None:
    job = over(A, {"one": FAIL, "two": PASS, "three": FAIL})

    def is_new(spec: JobSpec, name: str) -> bool:
        return name == nodeid("three")

    found, said = repeats([job], at_hand(A, B), is_new)
    assert [(one.board, one.tests) for one in found] == [
        (A, [nodeid("three")]),
        (B, [nodeid("three")]),
    ]
    assert said == []
    made = spec_of(found[1], spec(B), Purpose.REPEAT, 5)
    assert made.effort == Effort(seed=7, stress_s=1.0, repeat=5)
    assert (made.job, made.folder, made.cached) == (
        f"{B}.repeat",
        Path(f"/runs/r/{B}.repeat"),
        False,
    )


def test_a_board_that_was_in_trouble_is_no_witness() -> None:
    jobs = [over(A, {"one": FAIL}), over(B, {"one": INFRA})]
    found, _ = repeats(jobs, at_hand(A, B), everything_is_new)
    assert [one.board for one in found] == [A]
    found, _ = repeats(jobs, at_hand(A, B, C), everything_is_new)
    assert [one.board for one in found] == [A, C]


def test_too_many_new_failures_are_not_all_repeated() -> None:
    job = over(A, {f"test_{number}": FAIL for number in range(MAX_REPEATED + 5)})
    (found,), (said,) = repeats([job], at_hand(A), everything_is_new)
    assert found.tests is not None and len(found.tests) == MAX_REPEATED
    assert said == f"{A}: 25 tests fail anew; the first 20 of them are repeated"


def test_the_tests_within_a_test_are_repeated_as_one() -> None:
    job = over(A, {})
    names = [f"{nodeid('outer')}@{name}" for name in "ab"]
    tests = job_of({"outer@a": FAIL, "outer@b": FAIL}, board=A)
    for event in tests:
        job.view.add(event)
    assert [
        key.nodeid for event in tests if isinstance(event, Plan) for key in event.tests
    ] == names
    (found,), _ = repeats([job], at_hand(A), everything_is_new)
    assert found.tests == [nodeid("outer")]


verdicts = st.dictionaries(st.sampled_from(["one", "two", "three"]), st.sampled_from(list(Verdict)))


@given(st.lists(verdicts, min_size=1, max_size=3), st.sets(st.sampled_from([A, B, C])))
def test_no_board_gets_two_follow_ups_at_once(
    tests: list[dict[str, Verdict]], boards: set[str]
) -> None:
    jobs = [over(name, one) for name, one in zip((A, B, C), tests, strict=False)]
    for found in (
        retries(jobs, at_hand(*sorted(boards))),
        repeats(jobs, at_hand(*sorted(boards)), everything_is_new)[0],
    ):
        names = [one.board for one in found]
        assert len(set(names)) == len(names)
        for one in found:
            assert one.tests and one.follows
            assert one.board in boards | set(one.follows)


def test_rules_are_off_unless_asked_for() -> None:
    assert not Rules()
    assert Rules(infra=True) and Rules(new=1)


def test_earlier_verdicts_are_those_that_counted(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "farm.db")) as store:
        keep(store, tmp_path, [job_of({"one": FAIL, "two": PASS}, night=1)])
        keep(store, tmp_path, [job_of({"one": PASS}, night=2, plan="")])
        keep(
            store,
            tmp_path,
            [
                job_of({"one": INFRA, "two": FAIL}, night=3),
                job_of({"one": PASS}, night=3, board=B, purpose=Purpose.RETRY, follows=[A]),
                job_of({"two": PASS}, night=3, purpose=Purpose.REPEAT, follows=[A]),
            ],
        )
        last = keep(store, tmp_path, [job_of({"one": INFRA, "two": MISS}, night=4)])
        one, two = (Where("virt-smmuv3", "debian-13", nodeid(name)) for name in ("one", "two"))
        came = earlier(store, plan="nightly")
        assert [came.verdict for came in came[one]] == [FAIL, PASS, INFRA]
        assert [came.verdict for came in came[two]] == [PASS, FAIL, MISS]
        told = last_told(came[two])
        assert told is not None and told.verdict is FAIL
        assert len(earlier(store)[one]) == 4
        before = earlier(store, plan="nightly", before=load_run(store, last))
        assert [came.verdict for came in before[one]] == [FAIL, PASS]
        assert earlier(store, plan="other") == {}
