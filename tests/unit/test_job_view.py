"""What a job's journal says so far, and following it as it grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import events
from farm.model import Verdict
from farm.run.job import JobSpec, new_run_id
from farm.run.view import Follower, JobView

KEYS = [events.Key(nodeid=name, suite="s", test=name) for name in "abcd"]


def view(*happened: events.Event) -> JobView:
    made = JobView("board")
    for event in happened:
        made.add(event)
    return made


def finished(nodeid: str, verdict: Verdict, attempt: int = 1) -> events.CaseFinished:
    return events.CaseFinished(nodeid=nodeid, verdict=verdict, attempt=attempt, duration_s=1.5)


def test_a_whole_job_counts_what_it_gave() -> None:
    made = view(
        events.Plan(tests=KEYS[:2]),
        events.BoardReady(boot=1, kernel="6.12", boot_s=2.5),
        events.CaseStarted(nodeid="a"),
        finished("a", Verdict.PASS),
        events.CaseStarted(nodeid="b"),
        finished("b", Verdict.FAIL),
        events.JobFinished(),
    )
    made.close("")
    assert made.final_counts() == {Verdict.PASS: 1, Verdict.FAIL: 1}
    assert (made.ok, made.kernel, made.boot_s) == (True, "6.12", 2.5)


def test_a_second_attempt_is_told_with_the_reason_of_the_first() -> None:
    first = finished("a", Verdict.INFRA).model_copy(update={"reason": "the board hung"})
    made = view(
        events.CaseStarted(nodeid="a"),
        first,
        events.CaseStarted(nodeid="a", attempt=2),
        finished("a", Verdict.PASS, 2),
        events.CaseStarted(nodeid="b"),
        finished("b", Verdict.PASS),
    )
    assert made.first_reasons == ["the board hung"]


def test_a_job_cut_short_has_infra_for_the_running_case_and_miss_for_the_rest() -> None:
    made = view(
        events.Plan(tests=KEYS),
        events.CaseStarted(nodeid="a"),
        finished("a", Verdict.PASS),
        events.CaseStarted(nodeid="b"),
    )
    assert made.current == "b"
    made.close("the job's worker was killed")
    assert made.final_counts() == {Verdict.PASS: 1, Verdict.INFRA: 1, Verdict.MISS: 2}
    assert (made.ok, made.reason, made.current) == (False, "the job's worker was killed", "")


def test_time_is_counted_by_state() -> None:
    made = view(
        events.StateChanged(t=10.0, state="booting"),
        events.BoardReady(t=13.0, boot=1, kernel="6.12", boot_s=2.5),
        events.StateChanged(t=13.5, state="running"),
        events.CaseStarted(t=14.0, nodeid="a"),
        events.StateChanged(t=15.0, state="off"),
        events.JobFinished(t=16.0),
    )
    assert made.time_in("booting") == 3.5
    assert made.time_in("running", "off") == 2.5


def test_the_last_attempt_counts() -> None:
    made = view(
        events.Plan(tests=KEYS[:1]),
        events.CaseStarted(nodeid="a"),
        finished("a", Verdict.INFRA),
        events.CaseStarted(nodeid="a", attempt=2),
        finished("a", Verdict.PASS, 2),
    )
    assert made.final_counts() == {Verdict.PASS: 1}


def test_what_a_case_costs_beyond_its_own_time() -> None:
    def took(*own_ms: int, cached: bool = False) -> events.CaseFinished:
        walls = [
            events.SampleEvent(metric="wall", value=ms * 1e6, unit="ns", params={"phase": phase})
            for ms in own_ms
            for phase in ("first", "case")
        ]
        return finished("a", Verdict.PASS).model_copy(update={"samples": walls, "cached": cached})

    seen = view(took(1400), took(700, 400), took(), took(100, cached=True), took(9000))
    assert seen.overheads == pytest.approx([0.1, 0.2, 0.0])
    seen = view(finished("a@program's own", Verdict.PASS), took(1))
    assert seen.overheads == []


def test_a_test_that_is_blamed_after_its_end_failed() -> None:
    seen = view(
        events.CaseStarted(nodeid="a"),
        finished("a", Verdict.PASS),
        events.CaseBlamed(nodeid="a", reason="a warning (between a and b)"),
    )
    assert seen.final_counts() == {Verdict.FAIL: 1}
    assert seen.last["a"].reason == "a warning (between a and b)"


def test_a_second_attempt_cut_short_is_infra() -> None:
    made = view(
        events.Plan(tests=KEYS[:1]),
        events.CaseStarted(nodeid="a"),
        finished("a", Verdict.FAIL),
        events.CaseStarted(nodeid="a", attempt=2),
    )
    assert made.final_counts() == {Verdict.INFRA: 1}


def test_the_journals_reason_wins_over_the_workers_end() -> None:
    made = view(events.JobFinished(ok=False, reason="no board"))
    made.close("the worker ended with 1")
    assert (made.ok, made.reason) == (False, "no board")


@given(st.lists(st.integers(1, 60), max_size=30))
def test_following_in_any_chunks_gives_the_same_events(sizes: list[int]) -> None:
    import tempfile

    wanted = [events.StateChanged(seq=0, state="waiting"), events.CaseStarted(seq=1, nodeid="ä")]
    data = b"".join(events.encode(event).encode() + b"\n" for event in wanted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        follower = Follower(path)
        assert follower.news() == []
        found: list[events.Event] = []
        at = 0
        with path.open("wb", buffering=0) as stream:
            for size in [*sizes, len(data)]:
                stream.write(data[at : at + size])
                at += size
                found += follower.news()
        assert found == wanted
        assert not follower.damage.count


def test_a_line_that_is_no_event_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"type": "nonsense"}\n{"type": "state", "state": "on"}\n')
    follower = Follower(path)
    assert [event.type for event in follower.news()] == ["state"]
    assert str(follower.damage).startswith(f"{path}:1: ")
    assert follower.news() == [] and follower.damage.count == 1


def test_run_ids_sort_by_time() -> None:
    early, late = new_run_id(1_700_000_000.0), new_run_id(1_700_000_001.0)
    assert early < late
    assert early.startswith("20231114-221320-")


def test_a_specification_survives_its_file(tmp_path: Path) -> None:
    spec = JobSpec(
        run="r",
        job="j",
        coordinator="127.0.0.1:1",
        board="b",
        board_type="t",
        config=tmp_path / "t.yaml",
        image=events.ImageInfo(profile="debian-13"),
        folder=tmp_path / "j",
        select=["s/test_a.py::test[x]"],
    )
    assert JobSpec.load(spec.save()) == spec
    assert spec.select_file.read_text() == "s/test_a.py::test[x]\n"


def test_a_file_that_is_no_specification_is_a_config_error(tmp_path: Path) -> None:
    from farm.errors import ConfigError

    path = tmp_path / "job.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        JobSpec.load(path)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="no job"):
        JobSpec.load(path)


def test_a_job_is_on_the_board_that_it_got() -> None:
    image = events.ImageInfo(profile="debian-13")
    made = view(events.Placed(board="board-7", image=image, hardware={"revision": "2"}))
    assert made.board == "board-7"
    assert made.placed is not None and made.placed.hardware == {"revision": "2"}
