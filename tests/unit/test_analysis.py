"""Counting verdicts, trends, the matrix and requirements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from journals import REFUSES, job_events, write_journal

from farm.analysis import exit_code, summarise, unsettled
from farm.analysis.matrix import MatrixCell, matrix
from farm.analysis.requirements import requirements
from farm.analysis.trend import Trend
from farm.model import SHOWN_FIRST, WORST_FIRST, Verdict, tally, worst
from farm.report.pictures.matrix import summary
from farm.store.fold import fold_journal
from farm.store.records import JobRecord, Point, RunRecord, SampleRecord


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobRecord:
    path = tmp_path_factory.mktemp("job") / "journal.jsonl"
    events = job_events(1, "virt-smmuv3-1", "virt-smmuv3")
    return fold_journal(write_journal(path, events)).job


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 3),
        ([Verdict.PASS], 0),
        ([Verdict.SKIP], 0),
        ([Verdict.XFAIL], 0),
        ([Verdict.PASS, Verdict.MISS], 3),
        ([Verdict.INFRA], 3),
        ([Verdict.FAIL, Verdict.INFRA], 1),
        ([Verdict.XPASS], 1),
        ([Verdict.ERROR, Verdict.MISS], 1),
    ],
)
def test_exit_codes(verdicts: list[Verdict], code: int) -> None:
    assert exit_code(tally(verdicts)) == code
    assert exit_code({Verdict.FAIL: 0, **tally(verdicts)}) == code


def test_every_verdict_has_its_place() -> None:
    assert sorted(WORST_FIRST) == sorted(SHOWN_FIRST) == sorted(Verdict)
    shown = " ".join(tally(Verdict))
    assert shown == "FAIL ERROR XPASS NEW INFRA MISS PASS SKIP XFAIL"
    assert worst([Verdict.SKIP, Verdict.PASS]) is Verdict.PASS
    assert worst([Verdict.PASS, Verdict.FAIL, Verdict.MISS]) is Verdict.FAIL
    assert worst([]) is None


def test_a_job_that_planned_nothing_makes_the_run_a_gap(job: JobRecord, tmp_path: Path) -> None:
    start = job_events(1, "virt-noiommu-1", "virt-noiommu")[0]
    empty = fold_journal(write_journal(tmp_path / "journal.jsonl", [start])).job
    clean = job_events(1, "virt-smmuv3-1", "virt-smmuv3", trouble=False)
    good = fold_journal(write_journal(tmp_path / "good.jsonl", clean)).job
    assert summarise(RunRecord("r", 0.0, (good,))).exit == 0
    assert summarise(RunRecord("r", 0.0, (good, empty))).exit == 3
    assert summarise(RunRecord("r", 0.0, (job, empty))).exit == 1
    assert summarise(RunRecord("r", 0.0, ())).exit == 3
    assert summarise(RunRecord("r", 0.0, (replace(good, ok=False),))).exit == 3


def test_what_to_repeat_is_what_failed_or_told_nothing(job: JobRecord) -> None:
    verdicts = [test.verdict for _, test in unsettled(RunRecord("r", 0.0, (job,)))]
    assert tally(verdicts) == {
        Verdict.FAIL: 3,
        Verdict.ERROR: 1,
        Verdict.XPASS: 1,
        Verdict.NEW: 1,
        Verdict.MISS: 2,
    }


def trend(value: float, *earlier: float, unit: str = "count") -> Trend:
    points = tuple(Point(f"r{i}", float(i), one, 1, "6.12") for i, one in enumerate(earlier))
    return Trend("iommu_map", unit, {}, value, (value,), points)


def test_a_trend_compares_with_the_median_of_earlier_values() -> None:
    assert (trend(5).usual, trend(5).change, trend(5).steady) == (None, None, True)
    assert trend(6, 4, 5, 100).usual == 5
    assert trend(6, 4, 5, 100).change == pytest.approx(0.2)
    assert trend(6, 0, 0).change is None
    assert trend(0).quiet and trend(0, 0, 0).quiet
    assert not trend(0, 1).quiet
    assert trend(5, 5, 5).steady and not trend(5, 5, 6).steady


def test_only_a_count_that_never_varied_breaks_a_constant() -> None:
    assert trend(253, 252, 252, 252).broke_constant
    assert not trend(253, 252, 252).broke_constant
    assert not trend(253, 252, 253, 252).broke_constant
    assert not trend(252, 252, 252, 252).broke_constant
    assert not trend(253, 252, 252, 252, unit="ns").broke_constant
    assert replace(trend(253, 252, unit="ns"), noiseless=True).broke_constant
    assert not replace(trend(253), noiseless=True).broke_constant
    assert not replace(trend(3, 1, 1, 1), metric="page_faults").broke_constant


def test_the_matrix_holds_every_pair_with_its_cost(job: JobRecord) -> None:
    found = matrix(job)
    assert found is not None
    assert (len(found.exporters), len(found.importers), len(found.cells)) == (7, 6, 42)
    for (_, importer), cell in found.cells.items():
        if cell.outcome == "refused":
            assert cell.errno == REFUSES.get(importer, "EFAULT")
        elif cell.outcome == "shared":
            assert cell.cost_ns and cell.maps is not None
    missing = [cell for cell in found.cells.values() if not cell.outcome]
    assert {cell.verdict for cell in missing} == {Verdict.MISS}
    assert sum(cell.outcome == "wrong" for cell in found.cells.values()) == 1


def test_what_nobody_saw_through_the_importer_is_taken(job: JobRecord) -> None:
    told = next(test for test in job.final_tests if test.cell and test.cell.outcome == "shared")
    assert told.cell is not None
    taken = replace(told, cell=replace(told.cell, outcome="taken"))
    rest = tuple(test for test in job.tests if test.nodeid != told.nodeid)
    found = matrix(replace(job, tests=(*rest, taken)))
    assert found is not None
    cell = found.cells[told.cell.exporter, told.cell.importer]
    assert cell.imported and cell.outcome == "taken"
    assert ", of 1 of them nothing shows what the importer sees" in summary(found).replace(";", ",")


def test_a_cell_costs_what_a_warm_import_took_not_the_counted_one(job: JobRecord) -> None:
    told = next(test for test in job.final_tests if test.cell and test.cell.outcome == "shared")
    assert told.cell is not None
    pair = told.cell.exporter, told.cell.importer

    def cell(*samples: SampleRecord) -> MatrixCell:
        found = matrix(replace(job, tests=(replace(told, samples=samples),)))
        assert found is not None
        return found.cells[pair]

    def sample(metric: str, value: float, phase: str) -> SampleRecord:
        return SampleRecord(f"{metric} {phase}", metric, value, "ns", {"phase": phase}, 0)

    whole, first = sample("wall", 900.0, "case"), sample("wall", 700.0, "import")
    warm = sample("import_time", 100.0, "warm")
    assert (cell(whole, first, warm).cost_ns, cell(whole, first, warm).how) == (100.0, "")
    assert (cell(whole, first).cost_ns, cell(whole, first).how) == (700.0, "cold ")
    assert cell(whole).cost_ns is None


def test_a_skipped_attempt_takes_nothing_from_what_was_told_of_a_pair(job: JobRecord) -> None:
    before = matrix(job)
    assert before is not None
    told = next(test for test in job.final_tests if test.cell and test.cell.outcome == "shared")
    assert told.cell is not None
    params = {"exporter": told.cell.exporter, "importer": told.cell.importer}
    skipped = replace(told, nodeid="other", cell=None, verdict=Verdict.SKIP, params=params)
    after = matrix(replace(job, tests=(*job.tests, skipped)))
    assert after is not None and after.cells == before.cells
    failed = matrix(replace(job, tests=(*job.tests, replace(skipped, verdict=Verdict.FAIL))))
    assert failed is not None
    assert failed.cells[told.cell.exporter, told.cell.importer].verdict is Verdict.FAIL


def test_requirements_are_in_natural_order(job: JobRecord) -> None:
    rows = requirements(RunRecord("r", 0.0, (job,)))
    ids = [row.id for row in rows]
    assert ids.index("MAP-2") < ids.index("MAP-3")
    assert ids == sorted(ids, key=lambda name: (name.split("-")[0], int(name.split("-")[1])))
    verdicts = {row.id: row.verdict("virt-smmuv3-1") for row in rows}
    assert verdicts["MAP-3"] is Verdict.FAIL
    assert verdicts["SYN-1"] is Verdict.PASS
    assert rows[0].verdict("nobody") is None
