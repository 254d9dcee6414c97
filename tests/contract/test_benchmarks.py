"""The benchmarks that need no board run, and leave their figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.results import Part, Ratio, percentile

ROOT = Path(__file__).parents[2]


def test_quick_benchmarks_leave_their_figures(state: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "fleet", "places"],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (file,) = (state / "data" / "farm" / "benchmarks").glob("*.json")
    assert str(file) in done.stdout.splitlines()
    body = json.loads(file.read_text())
    assert [part["name"] for part in body["benchmarks"]] == ["fleet", "places"]
    assert body["quick"] is True and body["machine"]["cpus"] > 0
    for part in body["benchmarks"]:
        assert all(figure["value"] > 0 for figure in part["figures"])
        assert all(figure["name"] in done.stdout for figure in part["figures"])


def test_an_unknown_benchmark_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "flete"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no benchmark flete; there are " in done.stderr


def test_every_benchmark_has_its_section_in_the_page() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [name for name in BENCHMARKS if f"`{name}`" not in page] == []


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_a_value_that_was_seen(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


@pytest.mark.parametrize(
    ("bounds", "met"),
    [
        ({"at_least": 4.0}, True),
        ({"at_least": 6.0}, False),
        ({"at_most": 6.0}, True),
        ({"at_most": 4.0}, False),
    ],
)
def test_a_ratio_tells_whether_it_is_as_wanted(bounds: dict[str, float], met: bool) -> None:
    part = Part("x")
    of, to = part.add("a", [9.0, 10.0, 11.0], "s"), part.add("b", [2.0], "s")
    part.compare("a to b", of, to, **bounds)
    (ratio,) = part.ratios
    assert isinstance(ratio, Ratio) and ratio.value == 5.0 and ratio.met is met
