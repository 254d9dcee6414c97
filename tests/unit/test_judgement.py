"""What follow-ups say of a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from documented import documented
from hypothesis import given
from hypothesis import strategies as st
from nights import job_of, keep, nodeid

from farm.analysis.judgement import Judgement, Kind, judge
from farm.model import Purpose, Verdict
from farm.report.html import render as render_html
from farm.report.json import show
from farm.report.junit import render as render_junit
from farm.report.ktap import render as render_ktap
from farm.store import Store, load_run, open_store
from farm.store.fold import fold_journal
from farm.store.records import RunRecord

FAIL, INFRA, MISS, PASS = Verdict.FAIL, Verdict.INFRA, Verdict.MISS, Verdict.PASS
RETRY, REPEAT = Purpose.RETRY, Purpose.REPEAT
A, B = "virt-smmuv3-1", "virt-smmuv3-2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "farm.db"))


def run_of(store: Store, folder: Path, *jobs: Sequence[Any]) -> RunRecord:
    return load_run(store, keep(store, folder, jobs))


def repeats(
    store: Store, folder: Path, same: Sequence[Verdict], other: Sequence[Verdict]
) -> Judgement | None:
    """Return what is said of a FAIL on board A that was repeated there and on board B."""
    jobs = [job_of({"one": FAIL, "two": PASS}, board=A)]
    for board, seen in ((A, same), (B, other)):
        if seen:
            jobs.append(job_of({"one": seen}, board=board, purpose=REPEAT, follows=[A]))
    return judge(run_of(store, folder, *jobs)).get((A, nodeid("one")))


@pytest.mark.parametrize(
    ("same", "other", "kind", "short", "text"),
    [
        ([FAIL] * 5, [FAIL] * 5, Kind.REGRESSION, "regression",
         f"regression: failed 6 of 6 times on {A}, 5 of 5 times on {B}"),
        ([FAIL] * 5, [], Kind.REGRESSION, "regression",
         f"regression: failed 6 of 6 times on {A}, and no other board of the type tried it"),
        ([FAIL] * 5, [PASS] * 5, Kind.THIS_BOARD, "this board only",
         f"this board only: failed 6 of 6 times on {A}, 0 of 5 times on {B}"),
        ([FAIL, FAIL, *[PASS] * 7], [], Kind.FLAKY, "flaky (3 of 10)",
         f"flaky (3 of 10): failed 3 of 10 times on {A}"),
        ([PASS] * 4, [PASS] * 5, Kind.FLAKY, "flaky (1 of 10)",
         f"flaky (1 of 10): failed 1 of 5 times on {A}, 0 of 5 times on {B}"),
        ([FAIL] * 2, [FAIL, PASS], Kind.FLAKY, "flaky (4 of 5)",
         f"flaky (4 of 5): failed 3 of 3 times on {A}, 1 of 2 times on {B}"),
        ([INFRA] * 3, [FAIL] * 3, Kind.REGRESSION, "regression",
         f"regression: failed 1 of 1 times on {A}, 3 of 3 times on {B}"),
    ],
)  # fmt: skip
def test_a_repeated_failure_is_judged(
    store: Store,
    tmp_path: Path,
    same: list[Verdict],
    other: list[Verdict],
    kind: Kind,
    short: str,
    text: str,
) -> None:
    judged = repeats(store, tmp_path, same, other)
    assert judged is not None
    assert (judged.kind, judged.short, judged.text) == (kind, short, text)


@pytest.mark.parametrize(("same", "other"), [([], []), ([INFRA], [MISS]), ([INFRA], [PASS] * 3)])
def test_what_repeats_did_not_tell_is_no_judgement(
    store: Store, tmp_path: Path, same: list[Verdict], other: list[Verdict]
) -> None:
    assert repeats(store, tmp_path, same, other) is None


told = st.lists(st.sampled_from([PASS, FAIL, INFRA]), max_size=4)


@given(same=told, other=told)
def test_a_judgement_follows_from_what_was_seen(
    tmp_path_factory: pytest.TempPathFactory, same: list[Verdict], other: list[Verdict]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    journals = [job_of({"one": FAIL}, board=A)]
    journals += [
        job_of({"one": seen}, board=board, purpose=REPEAT, follows=[A])
        for board, seen in ((A, same), (B, other))
        if seen
    ]
    jobs = tuple(
        fold_journal(write(folder, number, one)).job for number, one in enumerate(journals)
    )
    judged = judge(RunRecord("r", 0.0, jobs)).get((A, nodeid("one")))
    if judged is None:
        return
    passed = [one is PASS for one in (*same, *other) if one is not INFRA]
    assert judged.of == 1 + len(passed)
    assert judged.failed == judged.of - sum(passed)
    assert (judged.kind is Kind.REGRESSION) is not any(passed)
    if judged.kind is Kind.THIS_BOARD:
        assert PASS not in same and FAIL in same and FAIL not in other


def write(folder: Path, number: int, events: Sequence[Any]) -> Path:
    from journals import write_journal

    return write_journal(folder / str(number) / "journal.jsonl", events)


def retried(store: Store, folder: Path) -> RunRecord:
    return run_of(
        store,
        folder,
        job_of({"one": INFRA, "two": MISS, "three": INFRA}, board=A, reason="the board is gone"),
        job_of({"one": PASS, "two": FAIL, "three": INFRA}, board=B, purpose=RETRY, follows=[A]),
        job_of({"two": [FAIL, FAIL]}, board=B, purpose=REPEAT, follows=[f"{B}.retry"]),
    )


def test_a_retry_says_what_it_stands_for(store: Store, tmp_path: Path) -> None:
    judged = {name: one.text for (_, name), one in judge(retried(store, tmp_path)).items()}
    assert judged == {
        nodeid("one"): f"retried: INFRA on {A}: the link was lost",
        nodeid("two"): f"regression: failed 3 of 3 times on {B}, and no other board of the type "
        "tried it",
        nodeid("three"): f"still open: INFRA again on {B}: the link was lost",
    }


def test_every_format_tells_the_judgement_beside_the_raw_verdict(
    store: Store, tmp_path: Path
) -> None:
    run = retried(store, tmp_path)
    rows: dict[str, Mapping[str, Any]] = {row["test"]: row for row in show(run)["cases"]}
    assert len(rows) == len(show(run)["cases"]) == 3
    assert (rows["two"]["verdict"], rows["two"]["judgement"]["kind"]) == ("FAIL", "regression")
    assert set(rows["two"]["judgement"]) | set(rows["two"]["judgement"]["tallies"][0]) == {
        "kind", "text", "tallies", "board", "failed", "of",
    }  # fmt: skip
    assert "judgement" in documented("farm show RUN --json")
    page = render_html(store, run.id)
    for text in ("regression: failed 3 of 3 times", "still open: INFRA again"):
        assert text in page
        assert text in render_junit(run)
    assert render_junit(run).count("<testcase") == 3
    boards = [line for line in render_ktap(run).splitlines() if line.startswith("  # Subtest: v")]
    assert boards == [f"  # Subtest: {board} virt-smmuv3" for board in (A, B)]
