"""What the report's page is worked out to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import job_events, write_journal

from farm.model import Verdict
from farm.report.html import render_page
from farm.report.page import page
from farm.store.fold import fold_journal
from farm.store.records import JobRecord, RunRecord

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "devices", "node", "pci", "driver"]), inner)
    ),
    max_leaves=8,
)
PARTS = ["iommu_groups", "devices", "drm", "v4l2", "heaps", "udmabuf", "memory_kib", "absent"]
TOPOLOGY = st.dictionaries(st.sampled_from(PARTS), JSON)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobRecord:
    path = tmp_path_factory.mktemp("job") / "journal.jsonl"
    events = job_events(1, "virt-smmuv3-1", "virt-smmuv3")
    return fold_journal(write_journal(path, events)).job


def of(*jobs: JobRecord) -> RunRecord:
    return RunRecord("r", 0.0, jobs)


def with_topology(job: JobRecord, topology: dict[str, Any]) -> JobRecord:
    boots = (*job.boots[:-1], replace(job.boots[-1], topology=topology))
    return replace(job, boots=boots, tests=())


@given(topology=TOPOLOGY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_topology_may_have_any_shape(job: JobRecord, topology: dict[str, Any]) -> None:
    assert page(of(with_topology(job, topology)), {}, {}).boards[0].devices is not None


@pytest.mark.parametrize("odd", [[], {}, None, "x", 7, [[["deep"]]], [{"devices": "x"}]])
def test_an_odd_topology_can_be_rendered(job: JobRecord, odd: Any) -> None:
    content = page(of(with_topology(job, dict.fromkeys(PARTS, odd))), {}, {})
    assert "</html>" in render_page(content)


def test_a_job_without_a_boot_can_be_rendered(job: JobRecord) -> None:
    bare = replace(job, boots=(), states=(), tests=(), complaints=(), reason="it <b>broke</b>")
    text = render_page(page(of(bare), {}, {}))
    assert "<h1>Nothing ran</h1>" in text
    assert "never came up" in text and "it &lt;b&gt;broke&lt;/b&gt;" in text


def test_the_head_tells_of_second_attempts(job: JobRecord) -> None:
    test = replace(job.final_tests[0], attempt=2)
    first = replace(test, attempt=1, final=False, verdict=Verdict.INFRA, reason="it <b>hung</b>")
    others = [replace(one, attempt=1, final=True) for one in job.final_tests[1:]]
    twice = replace(job, tests=(first, test, *others))
    once = replace(job, tests=(test, *others))
    head = render_page(page(of(twice), {}, {})).partition("</header>")[0]
    assert "1 test needed a second attempt, as the board hung" in head
    assert "it &lt;b&gt;hung&lt;/b&gt;" in head
    assert "second attempt" not in render_page(page(of(once), {}, {})).partition("</header>")[0]


def test_failures_alike_are_told_once(job: JobRecord) -> None:
    tests = tuple(
        replace(test, verdict=Verdict.FAIL, reason="assert 1 == 0", console=())
        if test.test == "test_pair"
        else test
        for test in job.tests
    )
    failures = page(of(replace(job, tests=tests)), {}, {}).failures
    (pairs,) = (one for one in failures if one.first.test.test == "test_pair")
    assert len(pairs.cases) == 42
    assert [one.board for one in pairs.boards] == [job.board]


@pytest.mark.parametrize(
    ("earlier", "told"),
    [
        ("", "first run of this test here"),
        ("PASS", "new: PASS in the run before"),
        ("FAIL PASS", "new: PASS in the run before"),
        ("PASS FAIL", "bad for 2 runs, since r1"),
        ("PASS INFRA FAIL", "bad for 3 runs, since r1"),
        ("FAIL FAIL", "bad for 3 runs, since r0"),
    ],
)
def test_a_failure_tells_since_when(job: JobRecord, earlier: str, told: str) -> None:
    failed = next(test for test in job.final_tests if test.verdict is Verdict.FAIL)
    verdicts = tuple((f"r{i}", Verdict(word)) for i, word in enumerate(earlier.split()))
    content = page(of(job), {}, {(job.board, failed.nodeid): verdicts})
    (case,) = (one.first for one in content.failures if one.first.test.nodeid == failed.nodeid)
    assert case.since == told


def test_gaps_are_grouped_by_reason(job: JobRecord, tmp_path: Path) -> None:
    gaps = page(of(job), {}, {}).gaps
    assert [(gap.verdict, gap.reason, len(gap.cases)) for gap in gaps] == [
        (Verdict.MISS, "never ran", 2)
    ]


def test_time_is_added_up_by_state(job: JobRecord) -> None:
    (board,) = page(of(job), {}, {}).boards
    assert {state for state, _ in board.stages} >= {"booting", "running", "rebooting"}
    spent = sum(seconds for _, seconds in board.stages)
    assert spent == pytest.approx(job.ended_at - job.states[0].at, abs=0.2)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({Verdict.PASS: 3, Verdict.SKIP: 2}, "All 3 tests passed"),
        ({Verdict.PASS: 3, Verdict.XFAIL: 1, Verdict.SKIP: 2}, "3 of 4 tests passed, 1 failed as"),
        ({Verdict.XFAIL: 1, Verdict.FAIL: 1}, "1 of 2 tests failed"),
        ({Verdict.SKIP: 2}, "Every test was skipped"),
    ],
)
def test_the_head_counts_as_passed_what_passed(
    job: JobRecord, verdicts: dict[Verdict, int], said: str
) -> None:
    shown = page(of(replace(job, tests=())), {}, {}, {})
    assert replace(shown, verdicts=verdicts).headline.startswith(said)


def test_several_that_one_reason_left_out_are_one_line(job: JobRecord) -> None:
    some = [replace(test, suite="sync") for test in job.final_tests[:5]]
    left_out = [
        replace(test, verdict=Verdict.SKIP, reason="it declares no heap" if at < 3 else "alone")
        for at, test in enumerate(some[:4])
    ]
    passed = replace(some[4], verdict=Verdict.PASS, reason="")
    shown = page(of(replace(job, tests=(*left_out, passed))), {}, {}, {})
    (suite,) = shown.suites
    assert [(reason, len(members)) for reason, members in suite.skipped] == [
        ("it declares no heap", 3)
    ]
    assert sum(len(members) for _, members in suite.tests) == 2
    assert suite.verdicts == {Verdict.SKIP: 4, Verdict.PASS: 1}
    html = render_page(shown)
    assert html.count("it declares no heap") == 1 and "3 tests" in html
    assert all(f'id="{case.anchor}"' in html for _, cases in suite.skipped for case in cases)
