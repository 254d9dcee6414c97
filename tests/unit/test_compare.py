"""Comparing runs: facts of exact boards, shifts of noisy numbers, verdicts, identities."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import write_journal

from farm import events
from farm.analysis.compare import Comparison, Kind, Where, compare, series_of
from farm.analysis.ranks import enough, shift, spread
from farm.analysis.trend import EXACT_UNITS, RESTLESS
from farm.cli.main import main
from farm.counters.registry import registry
from farm.events import CaseFinished, Event, ImageInfo, Key, Plan, SampleEvent
from farm.model import Better, Verdict
from farm.report.comparison import comparison
from farm.store import Store, history, ingest, load_run, open_store
from farm.store.records import RunRecord

IMPORT = "mapcache/test_map.py::test_import"
OTHER = "mapcache/test_map.py::test_other"


@dataclass
class Test:
    __test__ = False

    samples: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)
    verdict: Verdict = Verdict.PASS
    case_hash: str = "a" * 16


@dataclass
class Runs:
    """A store in which runs are made one after the other."""

    folder: Path
    store: Store
    made: int = 0

    def run(
        self,
        tests: Mapping[str, Test],
        *,
        exact: bool = True,
        kernel: str = "6.12.107",
        emulator: str = "qemu-7.2",
    ) -> RunRecord:
        self.made += 1
        name = f"run-{self.made:03d}"
        path = self.folder / name / "journal.jsonl"
        ingest(write_journal(path, self._events(name, tests, exact, kernel, emulator)), self.store)
        return load_run(self.store, name)

    def _events(
        self, run: str, tests: Mapping[str, Test], exact: bool, kernel: str, emulator: str
    ) -> list[Event]:
        t = 1e9 + self.made * 1000
        hardware = {"emulator": emulator, **({"exact": "yes"} if exact else {})}
        found: list[Event] = [
            events.JobStarted(
                t=t, run=run, job="board-1", board="board-1", board_type="virt",
                image=ImageInfo(profile="debian-13", id="i"), hardware=hardware,
            ),
            Plan(t=t, tests=[
                Key(nodeid=name, suite="mapcache", test=name.rpartition(":")[2], case="import")
                for name in tests
            ]),
            events.BoardReady(t=t, boot=1, kernel=kernel, boot_s=1.0),
        ]  # fmt: skip
        for name, test in tests.items():
            found.append(events.CaseStarted(t=t, nodeid=name))
            samples = [
                SampleEvent(
                    metric=metric, value=value, unit=unit, params={"phase": "first"}, replicate=n
                )
                for (metric, unit), values in test.samples.items()
                for n, value in enumerate(values)
            ]
            found.append(
                CaseFinished(
                    t=t, nodeid=name, verdict=test.verdict, case_hash=test.case_hash,
                    samples=samples,
                )
            )  # fmt: skip
        return [*found, events.JobFinished(t=t)]

    def compared(self, before: RunRecord, after: RunRecord) -> Comparison:
        points = history(self.store, series_of(before, after), until=after)
        better = {name: one.metric.better for name, one in registry().items()}
        return compare(before, after, points, better)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, open_store(str(tmp_path / "farm.db")))


def timed(*values: float) -> Test:
    return Test({("wall", "ns"): values})


def test_equal_runs_of_an_exact_board_differ_in_nothing(runs: Runs) -> None:
    test = Test({("wall", "ns"): [660_000], ("pmu_instructions", "count"): [330_000]})
    found = runs.compared(runs.run({IMPORT: test}), runs.run({IMPORT: test}))
    assert found.equal == 2
    assert (found.differences, found.noisy, found.untold, found.exit) == ((), (), 0, 0)
    assert found.identity == found.verdicts == found.only_before == found.only_after == ()


def test_one_nanosecond_on_an_exact_board_is_a_fact(runs: Runs) -> None:
    found = runs.compared(runs.run({IMPORT: timed(100)}), runs.run({IMPORT: timed(101)}))
    (one,) = found.differences
    assert (one.before, one.after, one.exact, one.worse) == (100, 101, True, True)
    assert (one.where, one.metric, one.params) == (
        Where("virt", IMPORT),
        "wall",
        {"phase": "first"},
    )
    assert found.exit == 1


def test_a_fact_for_the_better_is_no_regression(runs: Runs) -> None:
    found = runs.compared(runs.run({IMPORT: timed(101)}), runs.run({IMPORT: timed(100)}))
    assert len(found.differences) == 1 and found.exit == 0


def test_an_edited_case_is_named_and_its_numbers_are_no_regression(runs: Runs) -> None:
    before = {IMPORT: timed(100), OTHER: timed(5)}
    after = {IMPORT: Test({("wall", "ns"): [109]}, case_hash="b" * 16), OTHER: timed(5)}
    found = runs.compared(runs.run(before), runs.run(after))
    (identity,) = found.identity
    assert (identity.what, identity.before, identity.after) == (
        "case import",
        "a" * 16,
        "b" * 16,
    )
    assert [one.where.nodeid for one in found.differences] == [IMPORT]
    assert found.equal == 1 and found.exit == 0


def test_of_replicates_the_medians_are_compared(runs: Runs) -> None:
    before = runs.run({IMPORT: timed(1, 2, 9), OTHER: timed(5, 5)})
    found = runs.compared(before, runs.run({IMPORT: timed(3, 4), OTHER: timed(1, 5, 7)}))
    assert [(d.before, d.after) for d in found.differences] == [(2, 3.5)]
    assert found.equal == 1


def test_counts_are_facts_on_every_board(runs: Runs) -> None:
    def maps(count: float) -> Test:
        restless = {("context_switches", "count"): [count], ("iommu_map", "count"): [count]}
        return Test({("dma_map_sg", "count"): [count], **restless})

    found = runs.compared(
        runs.run({IMPORT: maps(0)}, exact=False), runs.run({IMPORT: maps(1)}, exact=False)
    )
    (one,) = found.differences
    assert (one.metric, one.exact, one.worse) == ("dma_map_sg", False, True)
    assert found.untold == 2  # the scheduler's, and how memory was scattered


def test_which_way_is_worse_is_what_the_metric_says(runs: Runs) -> None:
    ways = {name: one.metric.better for name, one in registry().items()}
    units = {name: one.metric.unit for name, one in registry().items()}

    def all_at(value: float) -> RunRecord:
        samples = {(name, units.get(name, "count")): [value] for name in (*ways, "of_others")}
        return runs.run({IMPORT: Test(samples)})

    for before, after, way in ((1, 2, Better.LOWER), (2, 1, Better.HIGHER)):
        found = runs.compared(all_at(before), all_at(after)).differences
        worse = {one.metric for one in found if one.worse}
        assert len(found) == len(ways) + 1
        assert worse == {name for name, better in ways.items() if better is way}


def test_levels_are_no_facts_but_on_exact_boards() -> None:
    for name, counter in registry().items():
        level = any(spec.startswith(("level:", "change:")) for spec in counter.specs)
        if level and counter.metric.unit in EXACT_UNITS:
            assert name.startswith(RESTLESS)


def test_what_follows_time_or_memory_is_no_fact(runs: Runs) -> None:
    def levels(count: float) -> Test:
        return Test({("cma_free", "B"): [count], ("vb2_buf_done", "count"): [count]})

    before, after = (runs.run({IMPORT: levels(n)}, exact=False) for n in (11, 12))
    found = runs.compared(before, after)
    assert (found.differences, found.untold) == ((), 2)


def test_one_value_of_a_noisy_number_tells_nothing(runs: Runs) -> None:
    found = runs.compared(
        runs.run({IMPORT: timed(100)}, exact=False), runs.run({IMPORT: timed(900)}, exact=False)
    )
    assert found.differences == found.noisy == () and found.untold == 1 and found.exit == 0


def series(runs: Runs, values: Sequence[float], kernel: str) -> RunRecord:
    return [runs.run({IMPORT: timed(one)}, exact=False, kernel=kernel) for one in values][-1]


def test_a_noisy_number_moves_where_its_history_bears_it_out(runs: Runs) -> None:
    before = series(runs, [100, 103, 98, 101, 99, 102], "6.12.107")
    after = series(runs, [120, 124, 119, 122, 121, 118], "7.2.13")
    found = runs.compared(before, after)
    (one,) = found.noisy
    assert one.shift is not None and 15 <= one.shift.low <= 20 <= one.shift.high <= 25
    assert (one.before.runs, one.after.runs, one.worse) == (6, 6, True)
    assert (one.before.median, one.after.median) == (100.5, 120.5)
    assert [(i.what, i.before, i.after) for i in found.identity] == [
        ("kernel", "6.12.107", "7.2.13")
    ]
    assert found.exit == 1


def test_other_kernels_lend_a_run_no_values(runs: Runs) -> None:
    series(runs, [100] * 6, "6.1.0")
    before = series(runs, [100], "6.12.107")
    found = runs.compared(before, series(runs, [200] * 6, "7.2.13"))
    assert found.untold == 1


def test_replicates_stand_in_where_there_is_no_history(runs: Runs) -> None:
    one, other = timed(*range(100, 110)), timed(*range(200, 210))
    found = runs.compared(
        runs.run({IMPORT: one}, exact=False), runs.run({IMPORT: other}, exact=False)
    )
    (moved,) = found.noisy
    assert moved.shift is not None and moved.shift.by == 100
    assert (moved.before.runs, len(moved.before.values)) == (1, 10)


@pytest.mark.parametrize(
    ("before", "after", "kind", "code"),
    [
        (Verdict.PASS, Verdict.FAIL, Kind.NEW_FAILURE, 1),
        (Verdict.SKIP, Verdict.ERROR, Kind.NEW_FAILURE, 1),
        (Verdict.FAIL, Verdict.PASS, Kind.FIXED, 0),
        (Verdict.PASS, Verdict.INFRA, Kind.NEW_GAP, 3),
        (Verdict.PASS, Verdict.NEW, Kind.NEW_GAP, 3),
        (Verdict.NEW, Verdict.PASS, Kind.OTHER, 0),
        (Verdict.FAIL, Verdict.ERROR, Kind.OTHER, 0),
        (Verdict.PASS, Verdict.SKIP, Kind.OTHER, 0),
    ],
)
def test_verdicts_that_changed(
    runs: Runs, before: Verdict, after: Verdict, kind: Kind, code: int
) -> None:
    found = runs.compared(
        runs.run({IMPORT: Test(verdict=before)}), runs.run({IMPORT: Test(verdict=after)})
    )
    (change,) = found.verdicts
    assert (change.kind, change.before, change.after) == (kind, before, after)
    assert found.exit == code


def test_tests_in_one_run_only_are_listed_and_other_hardware_is_named(runs: Runs) -> None:
    found = runs.compared(
        runs.run({IMPORT: Test()}), runs.run({OTHER: Test()}, emulator="qemu-8.0")
    )
    assert found.only_before == (Where("virt", IMPORT),)
    assert found.only_after == (Where("virt", OTHER),)
    assert [(i.what, i.after) for i in found.identity] == [("hardware emulator", "qemu-8.0")]


# --- ranks ---------------------------------------------------------------------------------------


def test_five_values_on_either_side_are_needed() -> None:
    assert [enough(count) for count in range(1, 7)] == [False] * 4 + [True] * 2
    assert shift([1, 1, 1], [9, 9, 9]) is None and shift([], [1]) is None


def test_clearly_apart_is_a_shift_and_the_same_is_none() -> None:
    moved = shift([1, 2, 3, 4, 5], [11, 12, 13, 14, 15])
    assert moved is not None and moved.is_real and moved.low <= 10 <= moved.high
    still = shift([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert still is not None and not still.is_real
    assert spread([1, 2, 3, 4, 100]) == 1


def test_noise_alone_is_seldom_called_a_shift() -> None:
    dice = random.Random(1)

    def draw() -> list[float]:
        return [dice.lognormvariate(0, 1) for _ in range(8)]

    pairs = [shift(draw(), draw()) for _ in range(2000)]
    assert sum(one is not None and one.is_real for one in pairs) <= 2000 * 0.02


values = st.lists(st.floats(-1e9, 1e9), min_size=5, max_size=12)


@given(one=values, other=values)
def test_a_shift_lies_in_its_interval_and_turns_round_with_its_sides(
    one: list[float], other: list[float]
) -> None:
    there, back = shift(one, other), shift(other, one)
    assert there is not None and back is not None
    assert there.low <= there.by <= there.high
    assert (back.low, back.high) == (-there.high, -there.low)


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def say(runs: Runs, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def command(*words: str) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["farm", *words, "--db", str(runs.folder / "farm.db")])
            with pytest.raises(SystemExit) as ended:
                main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return command


def test_the_command_tells_facts_and_exits_with_a_regression(
    runs: Runs, say: Callable[..., tuple[int, str]]
) -> None:
    runs.run({IMPORT: timed(100)})
    runs.run({IMPORT: timed(101)})
    code, said = say("compare", "run-001", "run-002")
    assert code == 1
    assert "1 numbers differ for a fact, in 1 tests" in said and "worse" in said
    code, said = say("compare", "run-002", "run-001")
    assert code == 0 and "worse" not in said


def test_the_object_is_of_the_version_that_has_no_replicate(
    runs: Runs, say: Callable[..., tuple[int, str]]
) -> None:
    runs.run({IMPORT: timed(100)})
    runs.run({IMPORT: timed(101)})
    _, said = say("compare", "run-001", "run-002", "--json")
    body = json.loads(said)
    assert body["schema"] == 2
    assert "replicate" not in body["exact"]["differences"][0]


def test_the_object_has_what_is_documented(runs: Runs) -> None:
    before = series(runs, [100, 103, 98, 101, 99, 102], "6.12.107")
    after = series(runs, [120, 124, 119, 122, 121, 118], "6.12.107")
    body = comparison(runs.compared(before, after))
    assert set(body) == {
        "before", "after", "exit", "identity", "verdicts", "only_before", "only_after", "exact",
        "noisy",
    }  # fmt: skip
    assert set(body["exact"]) == {"equal", "differences"}
    assert set(body["noisy"]) == {"confidence", "still", "untold", "moved"}
    (moved,) = body["noisy"]["moved"]
    assert set(moved) == {
        "board_type", "nodeid", "metric", "unit", "params", "worse", "before", "after", "shift",
        "low", "high",
    }  # fmt: skip
    assert set(moved["before"]) == {"median", "spread", "values", "runs"}
    exact = comparison(runs.compared(runs.run({IMPORT: timed(1)}), runs.run({IMPORT: timed(2)})))
    (fact,) = exact["exact"]["differences"]
    assert set(fact) == {
        "board_type", "nodeid", "metric", "unit", "params", "worse", "before", "after",
        "exact_board",
    }  # fmt: skip
