"""The store: ingest from whole, cut and broken journals; opening; looking up runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import HOSTILE, PANICS, job_events, run_id, write_journal, write_run
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from farm.errors import InfraError, JournalError, UsageError
from farm.events import (
    CaseBlamed,
    CaseFinished,
    CaseStarted,
    JobFinished,
    Plan,
    SampleEvent,
    decode,
)
from farm.model import Verdict
from farm.store import (
    Store,
    history,
    ingest,
    list_runs,
    load_run,
    open_store,
    resolve_run,
    verdict_history,
)
from farm.store import models as t
from farm.store.engine import HEAD
from farm.store.fold import MAX_TEXT, RUNNING, UNREAD, fold_journal
from farm.store.records import JobRecord
from farm.store.series import SeriesKeys

BOARD = ("virt-smmuv3-1", "virt-smmuv3")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the newest schema that holds nothing."""
    path = tmp_path_factory.mktemp("empty") / "farm.db"
    open_store(str(path)).close()
    return path


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Iterator[Store]:
    path = shutil.copy(empty, tmp_path / "farm.db")
    with open_store(str(path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(str(tmp_path_factory.mktemp("store") / "farm.db")) as opened:
        yield opened


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of the first 30 tests: an INFRA with its second attempt and a panic among them."""
    events = [*job_events(1, *BOARD)]
    plan = next(event for event in events if isinstance(event, Plan))
    kept = {key.nodeid for key in plan.tests[:30]}
    events = [
        event.model_copy(update={"tests": plan.tests[:30]}) if isinstance(event, Plan) else event
        for event in events
        if getattr(event, "nodeid", None) in (*kept, None)
    ]
    return write_journal(tmp_path_factory.mktemp("small") / "journal.jsonl", events)


def job_of(store: Store, run: str) -> JobRecord:
    (job,) = load_run(store, run).jobs
    return job


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store.read() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in t.Base.metadata.sorted_tables
        }


def test_the_store_gives_back_what_the_journal_says(store: Store, tmp_path: Path) -> None:
    paths = write_run(tmp_path)
    results = [ingest(path, store) for path in paths]
    run = load_run(store, run_id(1))
    assert {job.board: job for job in run.jobs} == {
        job.board: job for job in (fold_journal(path).job for path in paths)
    }
    assert [result.tests for result in results] == [
        len(job.final_tests) for job in sorted(run.jobs, key=lambda job: job.board, reverse=True)
    ]
    assert all(result.changed and not result.problem for result in results)


def test_the_same_journal_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    path, _ = write_run(tmp_path)
    ingest(path, store)
    before = rows(store)
    assert not ingest(path, store).changed
    assert rows(store) == before


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_prefix_keeps_what_had_finished(
    data: st.DataObject, small: Path, shared_store: Store, tmp_path: Path
) -> None:
    whole = small.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1), label="cut")
    path = tmp_path / "journal.jsonl"
    path.write_bytes(whole[:cut])
    with shared_store.write() as connection:
        connection.execute(sa.delete(t.Run))
    lines = whole[:cut].split(b"\n")[:-1]
    if not lines:
        with pytest.raises(JournalError):
            ingest(path, shared_store)
    else:
        result = ingest(path, shared_store)
        assert result.events == len(lines)
        check_prefix([decode(line) for line in lines], job_of(shared_store, result.run))
    path.write_bytes(whole)
    assert ingest(path, shared_store).changed
    stored = job_of(shared_store, run_id(1))
    assert stored == fold_journal(path).job


def check_prefix(events: list[object], job: JobRecord) -> None:
    stored = {(test.nodeid, test.attempt): test for test in job.tests}
    finished = [event for event in events if isinstance(event, CaseFinished)]
    for event in finished:
        test = stored[event.nodeid, event.attempt]
        assert (test.verdict, test.reason) == (event.verdict, event.reason.replace("\0", "\\x00"))
        assert len(test.samples) == len(event.samples)
        assert [(one.metric, one.value) for one in test.samples] == [
            (one.metric, one.value) for one in event.samples
        ]
    ended = {(event.nodeid, event.attempt) for event in finished}
    started = {(e.nodeid, e.attempt) for e in events if isinstance(e, CaseStarted)}
    for name in started - ended:
        assert (stored[name].verdict, stored[name].reason) == (Verdict.INFRA, RUNNING)
    planned = {key.nodeid for event in events if isinstance(event, Plan) for key in event.tests}
    for nodeid in planned - {nodeid for nodeid, _ in started | ended}:
        assert stored[nodeid, 1].verdict is Verdict.MISS
        assert stored[nodeid, 1].reason.startswith("never ran")
    for nodeid in planned:
        attempts = [test for test in job.tests if test.nodeid == nodeid]
        assert [test.attempt for test in attempts if test.final] == [
            max(test.attempt for test in attempts)
        ]


def test_a_shorter_journal_does_not_take_away(store: Store, small: Path, tmp_path: Path) -> None:
    ingest(small, store)
    before = rows(store)
    shorter = tmp_path / "journal.jsonl"
    shorter.write_bytes(small.read_bytes()[:20_000])
    assert not ingest(shorter, store).changed
    assert rows(store) == before


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbled_bytes_cost_the_lines_that_they_are_in_and_no_more(
    data: st.DataObject, small: Path, shared_store: Store, tmp_path: Path
) -> None:
    whole = small.read_bytes()
    lines = whole.splitlines(keepends=True)
    places = st.integers(1, len(lines) - 1)
    noise = st.binary(max_size=3).filter(lambda some: b"\n" not in some)
    garbled = data.draw(st.dictionaries(places, noise, min_size=1, max_size=3), label="noise")
    broken = tmp_path / "journal.jsonl"
    noisy = (b"#" + garbled[at] + one if at in garbled else one for at, one in enumerate(lines))
    broken.write_bytes(b"".join(noisy))
    with shared_store.write() as connection:
        connection.execute(sa.delete(t.Run))
    result = ingest(broken, shared_store)
    job = job_of(shared_store, run_id(1))
    assert job.problem == result.problem
    left = [decode(line) for at, line in enumerate(lines) if at not in garbled]
    assert result.events == len(left)
    assert result.problem.startswith(f"{broken}:{min(garbled) + 1}: ") and not job.ok
    stored = {(test.nodeid, test.attempt): test.verdict for test in job.tests}
    for event in left:
        if isinstance(event, CaseFinished):
            assert stored[event.nodeid, event.attempt] is event.verdict
    assert not any(test.reason.startswith("never ran") for test in job.tests)
    assert ingest(small, shared_store).changed, "the mended journal replaces the broken one"
    assert job_of(shared_store, run_id(1)).problem == ""


def test_a_case_whose_end_is_garbled_is_open_and_not_taken_for_cut_short(
    store: Store, small: Path, tmp_path: Path
) -> None:
    text = small.read_text(encoding="utf-8")
    broken = tmp_path / "journal.jsonl"
    broken.write_text(
        text.replace('"type":"case_finished"', '"type":"case_fin\x00shed"', 1), "utf-8"
    )
    problem = ingest(broken, store).problem
    assert problem.startswith(f"{broken}:") and "more like it" not in problem
    opened = [test for test in job_of(store, run_id(1)).tests if test.verdict is Verdict.INFRA]
    assert f"{UNREAD}: {problem}" in {test.reason for test in opened}


def test_a_second_job_in_a_journal_is_none_of_the_first(
    store: Store, small: Path, tmp_path: Path
) -> None:
    other = write_journal(tmp_path / "other.jsonl", job_events(2, "virt-noiommu-1", "virt-noiommu"))
    both = tmp_path / "journal.jsonl"
    both.write_bytes(small.read_bytes() + other.read_bytes())
    result = ingest(both, store)
    assert "starts another job" in result.problem
    assert result.events == len(small.read_bytes().splitlines())


def test_another_journal_of_the_same_job_is_refused(
    store: Store, small: Path, tmp_path: Path
) -> None:
    ingest(small, store)
    events = job_events(1, *BOARD)
    other = write_journal(
        tmp_path / "journal.jsonl", [events[0].model_copy(update={"pid": 1}), *events[1:]]
    )
    with pytest.raises(JournalError, match="another journal of run"):
        ingest(other, store)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"{}\n", b'{"type":"plan","tests":[]}\n', b"\xff\n", b"root:x\n"]
)
def test_a_file_that_is_no_journal_is_told_so(store: Store, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.jsonl:1: not a job's journal|no whole event"):
        ingest(path, store)
    with pytest.raises(JournalError, match=r"none\.jsonl: cannot be read: No such file") as caught:
        ingest(tmp_path / "none.jsonl", store)
    assert "folder of a run" in caught.value.next_step


def test_a_journal_of_a_newer_farm_is_told_so(store: Store, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(small.read_bytes().replace(b'"v":1,', b'"v":2,'))
    with pytest.raises(JournalError, match="journal format 2; this farm reads 1") as caught:
        ingest(path, store)
    assert "newer farm" in caught.value.next_step


def test_the_last_attempt_counts(store: Store, tmp_path: Path) -> None:
    ingest(write_run(tmp_path)[0], store)
    job = job_of(store, run_id(1))
    again = next(test for test in job.final_tests if test.attempt == 2)
    assert again.verdict is Verdict.PASS
    first = next(one for one in job.tests if one.nodeid == again.nodeid and not one.final)
    assert first.verdict is Verdict.INFRA
    assert (first.boot, again.boot) == (1, 2)
    assert len(job.final_tests) == len({test.nodeid for test in job.tests})


def test_a_test_that_is_blamed_after_its_end_failed(store: Store, tmp_path: Path) -> None:
    events = job_events(1, *BOARD, trouble=False)
    end = next(one for one in events if isinstance(one, CaseFinished) and one.samples)
    blame = CaseBlamed(nodeid=end.nodeid, attempt=end.attempt, reason="it leaks", console=["so"])
    ingest(write_journal(tmp_path / "journal.jsonl", [*events[:-1], blame, events[-1]]), store)
    (test,) = (one for one in job_of(store, run_id(1)).tests if one.nodeid == end.nodeid)
    assert (test.verdict, test.reason, test.console) == (Verdict.FAIL, "it leaks", ("so",))
    assert len(test.samples) == len(end.samples)


def test_complaints_know_their_case(store: Store, tmp_path: Path) -> None:
    ingest(write_run(tmp_path)[0], store)
    job = job_of(store, run_id(1))
    assert {(one.pattern, one.attempt, one.fatal) for one in job.complaints} == {
        ("oops", 1, True),
        ("panic", 1, True),
    }
    panicked = next(test for test in job.tests if test.nodeid == job.complaints[0].nodeid)
    assert panicked.verdict is Verdict.FAIL
    assert panicked.nodeid == job.final_tests[PANICS].nodeid


def test_samples_that_repeat_a_key_become_replicates(store: Store, tmp_path: Path) -> None:
    events = job_events(1, *BOARD, trouble=False)
    index = next(i for i, event in enumerate(events) if isinstance(event, CaseFinished))
    samples = [SampleEvent(metric="wall", value=value, unit="ns") for value in (5, 7, 6)]
    events[index] = events[index].model_copy(update={"samples": samples})
    ingest(write_journal(tmp_path / "journal.jsonl", events), store)
    test = job_of(store, run_id(1)).final_tests[0]
    assert [(one.value, one.replicate) for one in test.samples] == [(5, 0), (7, 1), (6, 2)]
    run = load_run(store, run_id(1))
    ((point,),) = history(store, [test.samples[0].series], until=run).values()
    assert (point.value, point.replicates) == (6.0, 3)


@pytest.mark.parametrize(
    ("sane", "mad"),
    [
        ('"attempt":1', '"attempt":100000000000000000000'),
        ('"value":1.0', '"value":NaN'),
        ('"value":1.0', '"value":1e999'),
        ('"duration_s":', '"duration_s":-1,"x":'),
    ],
)
def test_numbers_that_cannot_be_end_the_reading(
    store: Store, tmp_path: Path, sane: str, mad: str
) -> None:
    path = write_journal(tmp_path / "journal.jsonl", job_events(1, *BOARD))
    text = path.read_text(encoding="utf-8")
    assert sane in text
    path.write_text(text.replace(sane, mad, 1), encoding="utf-8")
    result = ingest(path, store)
    assert result.problem.startswith(f"{path}:") and result.events > 1


def test_texts_are_bounded_and_without_nul(store: Store, tmp_path: Path) -> None:
    events = job_events(1, *BOARD, trouble=False)
    index = next(i for i, event in enumerate(events) if isinstance(event, CaseFinished))
    events[index] = events[index].model_copy(
        update={"reason": "\0" + "x" * 100_000, "console": [HOSTILE] * 10_000}
    )
    ingest(write_journal(tmp_path / "journal.jsonl", events), store)
    test = job_of(store, run_id(1)).final_tests[0]
    assert test.reason.startswith("\\x00x") and len(test.reason) <= MAX_TEXT + 3
    assert len(test.console) == 400
    with store.read() as connection:
        dumped = json.dumps(connection.execute(sa.select(t.Test.console)).scalars().all())
    assert "\\u0000" not in dumped


def test_a_job_that_never_ran_is_all_miss(store: Store, tmp_path: Path) -> None:
    start, plan = job_events(1, *BOARD)[:2]
    end = JobFinished(t=start.t + 1, ok=False, reason="the board did not boot within 90 s")
    ingest(write_journal(tmp_path / "journal.jsonl", [start, plan, end]), store)
    job = job_of(store, run_id(1))
    assert {(test.verdict, test.reason) for test in job.tests} == {
        (Verdict.MISS, "never ran: the board did not boot within 90 s")
    }


def test_what_never_ran_names_the_trouble_before_it(store: Store, tmp_path: Path) -> None:
    events = job_events(1, *BOARD, trouble=False)
    index = next(i for i, event in enumerate(events) if isinstance(event, CaseFinished))
    infra = events[index].model_copy(update={"verdict": Verdict.INFRA, "reason": "3 boots failed"})
    path = write_journal(
        tmp_path / "journal.jsonl", [*events[:index], infra, JobFinished(t=infra.t)]
    )
    ingest(path, store)
    missed = [test for test in job_of(store, run_id(1)).tests if test.verdict is Verdict.MISS]
    assert {test.reason for test in missed} == {"never ran: 3 boots failed"}


def test_a_series_is_one_metric_under_comparable_conditions() -> None:
    base = {
        "board_type": "virt-smmuv3",
        "hardware": {"emulator": "qemu-7.2.22"},
        "case": "import_twice",
        "case_hash": "ab",
        "case_params": {"importer": "cirrus", "size": "4096"},
    }

    def key(phase: str = "first", metric: str = "wall", **other: object) -> str:
        params = {"phase": phase, "part": "1"}
        return SeriesKeys(**base | other).key(params, metric)  # type: ignore[arg-type]

    swapped = dict(reversed(base["case_params"].items()))  # type: ignore[attr-defined]
    assert key() == key(case_params=swapped)
    keys = {
        key(),
        key("again"),
        key(metric="iommu_map"),
        key(board_type="virt-noiommu"),
        key(hardware={}),
        key(case="import_many"),
        key(case_hash="cd"),
        key(case_params={"importer": "cirrus"}),
    }
    assert len(keys) == 8
    same = SeriesKeys(**base)  # type: ignore[arg-type]
    assert same.key({"b": "2", "a": "1"}, "wall") == same.key({"a": "1", "b": "2"}, "wall")


def test_a_series_keeps_its_key() -> None:
    """What is in stores is found again only if the same samples have the same key for ever."""
    keys = SeriesKeys(
        board_type="b",
        hardware={"z": "1", "a": '"'},
        case="c",
        case_hash="h",
        case_params={"y": "]"},
    )
    text = '["b",{"a":"\\"","z":"1"},"c","h",{"y":"]"},{"p":"\\u00fc","q":"1"},"wall"]'
    expected = hashlib.sha256(text.encode()).hexdigest()[:32]
    assert keys.key({"q": "1", "p": "\u00fc"}, "wall") == expected


def test_history_holds_earlier_runs_oldest_first(store: Store, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        for path in write_run(tmp_path, number, trouble=False):
            ingest(path, store)
    run = load_run(store, run_id(2))
    series = {one.series for job in run.jobs for test in job.tests for one in test.samples}
    found = history(store, series, until=run)
    assert len(found) == len(series)
    assert {tuple(point.run for point in points) for points in found.values()} == {
        (run_id(1), run_id(2))
    }
    assert {point.kernel for points in found.values() for point in points} == {
        "6.12.107+deb13-arm64"
    }
    only = history(store, series, until=run, limit=1)
    assert {tuple(point.run for point in points) for points in only.values()} == {(run_id(2),)}
    before = history(store, series, until=run, itself=False)
    assert {tuple(point.run for point in points) for points in before.values()} == {(run_id(1),)}
    assert history(store, series, until=run, limit=1, itself=False) == {}


def test_verdict_history_is_told_for_what_did_not_pass(store: Store, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        for path in write_run(tmp_path, number, trouble=number != 1):
            ingest(path, store)
    found = verdict_history(store, load_run(store, run_id(3)))
    assert found
    assert {tuple(run for run, _ in verdicts) for verdicts in found.values()} == {
        (run_id(1), run_id(2))
    }
    assert {verdicts[0][1] for verdicts in found.values()} == {Verdict.PASS}
    assert {board for board, _ in found} == {BOARD[0]}


def test_runs_are_listed_newest_first_and_found_by_prefix(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds none"):
        resolve_run(store, "last")
    for number in (2, 1, 3):
        ingest(write_run(tmp_path, number)[1], store)
    assert [line.id for line in list_runs(store)] == [run_id(3), run_id(2), run_id(1)]
    assert [line.id for line in list_runs(store, 1)] == [run_id(3)]
    assert list_runs(store)[0].verdicts["virt-noiommu-1"][Verdict.SKIP] == 3
    assert resolve_run(store, "last") == resolve_run(store, "latest") == run_id(3)
    assert resolve_run(store, run_id(2)) == resolve_run(store, run_id(2)[:13]) == run_id(2)
    with pytest.raises(UsageError, match="means 3 runs"):
        resolve_run(store, "20260921")
    with pytest.raises(UsageError, match=f"nearest are {run_id(1)}"):
        resolve_run(store, run_id(1)[:-1] + "x")
    with pytest.raises(UsageError, match="no run ''"):
        resolve_run(store, "")
    with pytest.raises(UsageError):
        load_run(store, "nope")


def test_migrations_make_exactly_the_tables(store: Store) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, t.Base.metadata) == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    folder = Path(t.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_tables_compile_for_postgresql() -> None:
    for table in t.Base.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_a_database_of_a_newer_farm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    open_store(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(UsageError, match="schema '9999'"):
        open_store(str(path))


def test_what_is_no_database_is_told_so(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to look like one\n" * 50)
    with pytest.raises(UsageError, match="not a database"):
        open_store(str(text))
    with pytest.raises(UsageError, match="folder does not exist"):
        open_store(str(tmp_path / "none" / "farm.db"))
    with pytest.raises(InfraError):
        open_store(str(tmp_path))
    for url in ("nonsense://x", "://", "postgresql+nodriver://host/db"):
        with pytest.raises(UsageError):
            open_store(url)


def test_the_default_lives_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with open_store() as store:
        assert store.url == f"sqlite:///{tmp_path}/farm/farm.db"
