"""Every way in which a virtual board breaks on command, and what the farm makes of each.

The rows are those of ``docs/faults.md``: each is provoked, and compared with what the page says.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.analysis import exit_code
from farm.lab.faults import Fault, Injected
from farm.model import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
SIDE_BY_SIDE = 4
"""Boards that run at a time: more only take each other's processor."""
ELSEWHERE = {Fault.LINK_DROP, Fault.FREEZE, Fault.NO_KERNEL_FILE}
"""Modes that the page tells of beside its table, and other tests provoke."""
WHOSE = {Verdict.PASS: "nobody's", Verdict.INFRA: "the lab's", Verdict.FAIL: "the kernel's"}
EXITS = {"nobody's": 0, "the lab's": 3, "the kernel's": 1}

SUITE = """\
import time
import pytest

@pytest.mark.case("self_pass")
def test_first(board):
    year = int(board.command("date +%Y"))
    until = {clock_year}
    assert year == until if until else year > 2000
    for _ in range({rounds}):
        board.run("self_pass", must="x")
        time.sleep(0.5)

@pytest.mark.case("self_pass")
def test_second(board):
    board.run("self_pass", must="x")
"""


@dataclass(frozen=True)
class Row:
    """What the page says of one mode."""

    mode: str
    first: list[str]
    second: list[str]
    whose: str
    reason: str
    boots: int

    @property
    def never_ready(self) -> bool:
        """Whether no SSH ever answers, so that how long is waited for it makes no difference."""
        return "no SSH within" in self.reason

    @property
    def strikes(self) -> bool:
        """Whether the first test has to go on until the fault strikes."""
        return self.first[0] != "PASS" and self.second == ["PASS"]


def rows() -> list[Row]:
    """Read the table."""
    found = []
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"\| `", line) and len(cells) == 8:
            mode, _, first, second, whose, reason, boots, _ = cells
            found.append(
                Row(mode.strip("`"), first.split(), second.split(), whose, reason.strip("`"),
                    int(boots))
            )  # fmt: skip
    return found


def suite_of(row: Row) -> str:
    return "dated" if row.mode.startswith("clock") else "long" if row.strikes else "short"


def test_the_page_has_every_mode() -> None:
    told = [Injected.parse(row.mode) for row in rows()]
    assert all(str(one) == row.mode for one, row in zip(told, rows(), strict=True))
    assert sorted([*(one.fault for one in told), *ELSEWHERE]) == sorted(Fault)
    page = (ROOT / "docs" / "faults.md").read_text()
    assert all(f"`{fault}`" in page for fault in ELSEWHERE)


def make_project(folder: Path) -> Path:
    """Copy board configs and suites: three suites to run, and a type whose boots are short."""
    for name in ("board-configs", "testsuites"):
        shutil.copytree(ROOT / name, folder / name)
    source = (folder / "board-configs" / "virt-noiommu.yaml").read_text()
    for name, limit in (("virt-patient", 300), ("virt-hasty", 5)):
        text = source.replace("board_type: virt-noiommu", f"board_type: {name}")
        text = re.sub(r"boot_s: \d+", f"boot_s: {limit}", text)
        (folder / "board-configs" / f"{name}.yaml").write_text(
            re.sub(r"case_s: \d+", "case_s: 10", text)
        )
    for name, rounds, year in (("short", 2, 0), ("long", 240, 0), ("dated", 1, 1980)):
        suite = folder / "testsuites" / name
        suite.mkdir()
        shutil.copyfile(folder / "testsuites" / "mapcache" / "suite.toml", suite / "suite.toml")
        text = (suite / "suite.toml").read_text()
        (suite / "suite.toml").write_text(text.replace('"mapcache"', f'"{name}"'))
        (suite / f"test_{name}.py").write_text(SUITE.format(rounds=rounds, clock_year=year))
    return folder


@pytest.fixture(scope="module")
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, module_farm: Any
) -> dict[str, Any]:
    """Run every selected row on a board of its own, and return what came out by mode."""
    wanted = [
        item.callspec.params["row"]
        for item in request.session.items
        if getattr(item, "function", None) is test_what_the_farm_makes_of_it
    ]
    module_farm.variables["FARM_ROOT"] = str(make_project(tmp_path_factory.mktemp("project")))
    places: dict[str, Row] = {}
    counts: dict[str, int] = {}
    for row in wanted:
        kind = "virt-hasty" if row.never_ready else "virt-patient"
        counts[kind] = counts.get(kind, 0) + 1
        places[f"{kind}-{counts[kind]}"] = row
    words = [word for kind, n in counts.items() for word in ("--boards", f"{kind}={n}")]
    words += [word for place, row in places.items() for word in ("--fault", f"{place}={row.mode}")]
    up = module_farm.call("lab", "up", *words)
    assert up.returncode == 0, up.stderr
    found: dict[str, Any] = {}
    for suite in ("long", "short", "dated"):
        mine = [place for place, row in places.items() if suite_of(row) == suite]
        for start in range(0, len(mine), SIDE_BY_SIDE):
            some = mine[start : start + SIDE_BY_SIDE]
            asked = [word for place in some for word in ("--board", place)]
            done = module_farm.json("run", suite, "--no-check", *asked)
            found |= {places[job["board"]].mode: job for job in done["jobs"]}
    return found


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.mode, marks=[pytest.mark.slow] * (suite_of(row) == "long"))
        for row in rows()
    ],
)
def test_what_the_farm_makes_of_it(row: Row, outcome: dict[str, Any]) -> None:
    job = outcome[row.mode]
    journal = Path(job["journal"])
    told = list(events.read_journal(journal))
    finished = [event for event in told if isinstance(event, events.CaseFinished)]
    seen = {
        name: [str(one.verdict) for one in finished if f"::test_{name}" in one.nodeid] or ["MISS"]
        for name in ("first", "second")
    }
    reasons = [one.reason for one in finished]
    assert seen == {"first": row.first, "second": row.second}, reasons
    assert row.whose == WHOSE[Verdict(row.first[-1])]
    assert exit_code({Verdict(one): n for one, n in job["verdicts"].items()}) == EXITS[row.whose]
    last = [one for one in finished if "::test_first" in one.nodeid][-1]
    assert row.reason in last.reason
    console = (journal.parent / "console.log").read_text(encoding="utf-8")
    assert console.count("-- power on --") == row.boots
    complaints = {event.pattern for event in told if isinstance(event, events.Complaint)}
    assert bool(complaints) == ("panic" in row.mode)
    assert isinstance(told[-1], events.JobFinished)
    assert told[-1].ok == (row.second != ["MISS"])
    if row.mode.startswith("serial-drop"):
        assert "console port lost" in console
