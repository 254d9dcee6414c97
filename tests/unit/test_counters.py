"""Counters: a contract for every one, and errors for plugins that are wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from farm import paths
from farm.counters import casetimes
from farm.counters.registry import SPEC, Counter, chosen, collect, registry
from farm.errors import ConfigError
from farm.model import Better

UNITS = {"count", "ns", "B", "Hz", "Cel", "dB", "op/s", "B/op", "{permille}"}
SAMPLE = r'\bsample\("(\w+)", [^"]*"([\w/{}]+)"'


@pytest.mark.parametrize("counter", registry().values(), ids=lambda counter: counter.name)
def test_counter_keeps_the_contract(counter: Counter) -> None:
    metric = counter.metric
    assert metric.unit in UNITS
    assert isinstance(metric.better, Better)
    assert metric.source
    assert all(SPEC.fullmatch(spec) for spec in counter.specs)
    assert len(set(counter.specs)) == len(counter.specs)


def test_sources_that_the_farm_promises() -> None:
    names = set(registry())
    assert {"dma_map_sg", "dma_unmap_sg", "iommu_map", "iommu_unmap", "wall"} <= names
    assert {"dma_fence_init", "dma_fence_destroy", "pmu_cycles", "smmu_events"} <= names


def test_what_cases_sample_themselves_is_declared_and_nothing_else_comes_unasked() -> None:
    unasked = {one.name: one.metric.unit for one in registry().values() if not one.specs}
    sampled = {"wall": "ns"}
    fdinfo = (paths.testsuites() / "payload" / "drm_fdinfo.c").read_text()
    sampled.update(re.findall(r'"drm-\w+-", "(\w+)", "(\w+)"', fdinfo))
    sampled.update(re.findall(SAMPLE, (paths.testsuites() / "payload" / "stress.c").read_text()))
    for file in paths.testsuites().glob("*/*.c"):
        if (file.parent / "suite.toml").is_file():
            text = file.read_text()
            units = re.findall(r'\bsample\(name, [^"]*"(\w+)"', text)  # of a case's own report()
            sampled.update(dict.fromkeys(re.findall(r'\breport\("(\w+)"', text), *set(units)))
            times = re.findall(r'\bsample_(?:calls|tail|distribution)\("(\w+)"', text)
            sampled.update(dict.fromkeys(times, "ns"))
            sampled.update(re.findall(SAMPLE, text))
    assert unasked == sampled


def test_events_with_uncapped_arrays_are_never_tracepoints() -> None:
    for name in ("dma_unmap_sg", "dma_sync_sg_for_cpu"):
        assert all(spec.startswith("kprobe:") for spec in registry()[name].specs)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("vendor_")]:
        del sys.modules[name]


GOOD = """
from farm.counters.registry import Counter
from farm.model import Better, Metric
COUNTERS = (Counter(Metric("npu_jobs", "count", Better.LOWER, "npu.c"), ("tp:npu:job",)),)
"""


def test_another_package_adds_a_counter(vendor: Path) -> None:
    (vendor / "vendor_good.py").write_text(GOOD)
    entry = EntryPoint("counters.npu", "vendor_good", "farm")
    assert list(collect([], [entry])) == ["npu_jobs"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "expected a tuple"),
        ("COUNTERS = ['npu']", "expected a tuple"),
        (GOOD.replace("tp:npu:job", "tp:npu"), "'npu_jobs': bad"),
        (GOOD.replace("npu_jobs", "NPU jobs"), "bad name"),
    ],
)
def test_a_plugin_that_is_wrong_is_an_error(vendor: Path, text: str, said: str) -> None:
    (vendor / "vendor_bad.py").write_text(text)
    with pytest.raises(ConfigError, match=said):
        collect(["vendor_bad"])


def test_a_name_may_come_once(vendor: Path) -> None:
    (vendor / "vendor_one.py").write_text(GOOD)
    (vendor / "vendor_two.py").write_text(GOOD)
    with pytest.raises(ConfigError, match="exists already"):
        collect(["vendor_one", "vendor_two"])


def test_a_variable_chooses_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen() == tuple(registry().values())
    monkeypatch.setenv("FARM_COUNTERS", "wall,iommu_map")
    assert {one.name for one in chosen()} == {"wall", "iommu_map"}
    monkeypatch.setenv("FARM_COUNTERS", "")
    assert chosen() == ()
    monkeypatch.setenv("FARM_COUNTERS", "iommu_maps")
    with pytest.raises(ConfigError, match=r"unknown counter 'iommu_maps'.*iommu_map"):
        chosen()


def test_what_is_made_of_other_counters_comes_after_them() -> None:
    names = list(registry())
    for number, counter in enumerate(registry().values()):
        for spec in counter.specs:
            if spec.startswith("balance:"):
                made, _, gone = spec.removeprefix("balance:").partition("-")
                assert max(names.index(made), names.index(gone)) < number
                assert counter.leak and counter.whole_case


def table_row(counter: Counter) -> str:
    """Return the row of ``docs/counters.md`` that a counter has."""
    ways = "<br>".join(f"`{spec}`" for spec in counter.specs) or counter.metric.source
    when = "case" if counter.whole_case or not counter.specs else "case, window"
    unit, better = counter.metric.unit, str(counter.metric.better)
    cells = (f"`{counter.name}`", unit, better, ways, when, counter.needs or "nothing")
    return f"| {' | '.join(cells)} |"


def test_the_documented_table_is_the_registry() -> None:
    text = (paths.project_root() / "docs" / "counters.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| `\w+` \|", line)]
    own = {counter.name for counter in casetimes.COUNTERS}
    assert rows == [table_row(one) for one in registry().values() if one.name not in own]
