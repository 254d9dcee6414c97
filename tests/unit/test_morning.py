"""What a night says against the nights before it, and in which order its tests run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from documented import documented
from hypothesis import given
from hypothesis import strategies as st
from nights import Told, job_of, keep, night_id, nodeid

from farm.analysis.importance import Rank, ordered, rank
from farm.analysis.morning import Morning, morning
from farm.model import Purpose, Verdict
from farm.report.morning import document, render, sections, subject, text
from farm.run.job import TIME_BOX
from farm.store import Store, load_run, open_store
from farm.store.earlier import Came, earlier
from farm.store.records import RunRecord

FAIL, INFRA, MISS, NEW, PASS, SKIP = (
    Verdict[name] for name in ("FAIL", "INFRA", "MISS", "NEW", "PASS", "SKIP")
)
A, B = "virt-smmuv3-1", "virt-smmuv3-2"
KINDS = ("new", "still", "flaky", "fixed", "unexpected", "not_run")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "farm.db"))


def nights(store: Store, folder: Path, *each: dict[str, Told]) -> None:
    for number, tests in enumerate(each, 1):
        keep(store, folder, [job_of(tests, night=number)])


def last(store: Store, run: str) -> Morning:
    record = load_run(store, run)
    return morning(record, earlier(store, plan="nightly", before=record))


def news(found: Morning) -> dict[str, list[str]]:
    return {
        kind: names
        for kind in KINDS
        if (names := [row.where.nodeid.partition("::")[2] for row in getattr(found, kind)])
    }


def test_a_night_is_compared_with_when_each_test_last_told_something(
    store: Store, tmp_path: Path
) -> None:
    nights(
        store,
        tmp_path,
        {"a": PASS, "b": FAIL, "c": FAIL, "d": FAIL, "e": PASS, "f": PASS, "gone": PASS},
        {"a": MISS, "b": FAIL, "c": FAIL, "d": INFRA, "e": MISS, "f": PASS, "gone": PASS},
        {"a": FAIL, "b": FAIL, "c": PASS, "d": FAIL, "e": MISS, "f": SKIP, "g": NEW, "h": FAIL},
    )
    found = last(store, night_id(3))
    assert news(found) == {
        "new": ["a", "h"],
        "still": ["b", "d"],
        "fixed": ["c"],
        "unexpected": ["g"],
        "not_run": ["e", "f", "gone"],
    }
    assert found.against == night_id(2)
    rows = {row.where.nodeid: row for kind in KINDS for row in getattr(found, kind)}
    a, b, c, d, h = (rows[nodeid(name)] for name in "abcdh")
    assert a.before is not None and a.before.run == night_id(1)
    assert h.before is None
    assert (b.since, b.nights) == (night_id(1), 3)
    assert (d.since, d.nights) == (night_id(1), 2)
    assert (c.since, c.nights) == (night_id(1), 2)
    assert rows[nodeid("gone")].reason == "no job of this night was to run it"
    assert found.exit == 1
    assert found.headline == "2 new, 2 still broken, 1 fixed, 1 unexpected, 3 not run"


def test_follow_ups_make_flaky_of_new_and_settle_what_did_not_run(
    store: Store, tmp_path: Path
) -> None:
    nights(store, tmp_path, {"a": PASS, "b": PASS, "c": PASS})
    run = keep(
        store,
        tmp_path,
        [
            job_of({"a": FAIL, "b": FAIL, "c": INFRA}, night=2),
            job_of({"c": PASS}, night=2, board=B, purpose=Purpose.RETRY, follows=[A]),
            job_of(
                {"a": [FAIL, FAIL], "b": [PASS] * 9}, night=2, purpose=Purpose.REPEAT, follows=[A]
            ),
        ],
    )
    found = last(store, run)
    assert news(found) == {"new": ["a"], "flaky": ["b"]}
    assert "flaky (1 of 10): failed 1 of 10 times" in text(found)
    assert "regression: failed 3 of 3 times" in text(found)


def test_a_quiet_night_and_an_empty_one(store: Store, tmp_path: Path) -> None:
    nights(store, tmp_path, {"a": PASS}, {"a": PASS, "b": SKIP})
    assert last(store, night_id(2)).headline == "all is well"
    assert last(store, night_id(1)).against == ""
    record = load_run(store, night_id(2))
    held = morning(record, earlier(store, before=record), troubles=["board-4 is held by ann", "x"])
    assert (held.headline, held.exit) == ("no news, but board-4 is held by ann", 3)
    long = morning(record, earlier(store, before=record), troubles=["x" * 999])
    assert len(subject(long)) < 160
    empty = morning(
        RunRecord("r", 2e9, ()),
        earlier(store, plan="nightly"),
        plan="nightly",
        troubles=["no board is free"],
    )
    assert (news(empty), empty.exit, empty.plan) == ({"not_run": ["a"]}, 3, "nightly")
    assert "! no board is free" in text(empty)
    assert "no board is free" in render(empty)


def test_the_page_escapes_and_runs_nothing(store: Store, tmp_path: Path) -> None:
    events = job_of({"a": FAIL}, reason="<script>alert(1)</script>\x1b[31m")
    run = keep(store, tmp_path, [events])
    page = render(last(store, run), "report.html")
    assert "<script" not in page and "default-src 'none'" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", page)
    assert "&lt;script&gt;" in page and "<code>report.html</code>" in page


def test_the_text_of_a_bad_night_stays_short(store: Store, tmp_path: Path) -> None:
    broken = {f"test_{number}": FAIL for number in range(200)}
    gone = {f"other_{number}": MISS for number in range(200)}
    run = keep(store, tmp_path, [job_of({**broken, **gone}, reason=TIME_BOX)])
    said = text(last(store, run))
    assert "… and 175 more" in said and "MISS 200 tests on virt-smmuv3: never ran: the time" in said
    assert len(said.splitlines()) < 120
    assert len(subject(last(store, run))) < 120


def test_the_object_is_as_documented(store: Store, tmp_path: Path) -> None:
    nights(store, tmp_path, {"a": PASS, "b": PASS}, {"a": FAIL, "b": MISS})
    body = document(last(store, night_id(2)))
    assert json.loads(json.dumps(body)) == body
    row = body["new"][0]
    names = {*body, *row, *row["before"], *body["jobs"][0]}
    names |= {"schema", "report", "morning", "told", "to", "tries", "problem"}
    assert documented("farm nightly PLAN --json") == names
    assert {section.name for section in sections(last(store, night_id(2)))} == set(KINDS)


def came(*verdicts: Verdict) -> list[Came]:
    return [Came(night_id(n), float(n), verdict, 1.5) for n, verdict in enumerate(verdicts, 1)]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), Rank.UNKNOWN),
        ((PASS, PASS), Rank.USUAL),
        ((PASS, FAIL), Rank.TROUBLED),
        ((FAIL, PASS), Rank.TROUBLED),
        ((FAIL, PASS, PASS), Rank.USUAL),
        ((PASS, MISS), Rank.UNKNOWN),
        ((PASS, INFRA), Rank.UNKNOWN),
        ((SKIP, SKIP), Rank.USUAL),
        ((MISS, MISS), Rank.UNKNOWN),
    ],
)
def test_what_failed_or_changed_comes_first_then_what_is_unknown(
    verdicts: tuple[Verdict, ...], expected: Rank
) -> None:
    assert rank(came(*verdicts), night_id(len(verdicts))) is expected


def test_then_comes_the_requirements_priority() -> None:
    tests = [("usual", ["C-1"]), ("late", ["C-3"]), ("early", ["C-3", "C-1"]), ("none", [])]
    known = {name: came(PASS) for name, _ in tests}
    found = ordered(tests, known, night_id(1), {"C-1": 1, "C-3": 3}, 2)
    assert [(one.nodeid, one.priority) for one in found] == [
        ("usual", 1), ("early", 1), ("none", 2), ("late", 3),
    ]  # fmt: skip
    assert {one.duration_s for one in found} == {1.5}


verdicts = st.lists(st.sampled_from(list(Verdict)), max_size=4)


@given(st.dictionaries(st.text(max_size=3), st.tuples(verdicts, st.integers(1, 3)), max_size=8))
def test_an_order_holds_every_test_once_and_is_one(
    tests: dict[str, tuple[list[Verdict], int]],
) -> None:
    known = {name: came(*seen) for name, (seen, _) in tests.items()}
    priorities = {name: priority for name, (_, priority) in tests.items()}
    found = ordered([(name, [name]) for name in tests], known, night_id(4), priorities, 2)
    assert sorted(one.nodeid for one in found) == sorted(tests)
    keys = [(one.rank, one.priority) for one in found]
    assert keys == sorted(keys)
