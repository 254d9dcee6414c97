"""The commands that read results: objects on stdout, exit codes, what is said on mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from documented import documented
from journals import HOSTILE, run_id, write_run

from farm.cli.main import main
from farm.cli.outcome import keep
from farm.store import ingest, open_store

FIELDS = {
    "case": {
        "board",
        "board_type",
        "attempt",
        "suite",
        "test",
        "case",
        "params",
        "requirements",
        "verdict",
        "reason",
        "duration_s",
        "samples",
        "absent",
        "replicates",
        "seed",
        "decisions",
        "judgement",
        "again",
    },
    "sample": {"metric", "value", "unit", "params", "replicate"},
    "absent": {"counter", "reason"},
}


@dataclass
class Farm:
    """The command line on a database of two runs."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["farm", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = self.capture.readouterr()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0), out, err

    def json(self, *words: str) -> dict[str, Any]:
        code, out, _ = self(*words, "--json")
        assert code == 0
        body = json.loads(out)
        assert body["schema"] == 1
        return dict(body)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with open_store(str(folder / "farm.db")) as store:
        for number in (1, 2):
            for path in write_run(folder, number, trouble=number == 2):
                ingest(path, store)
    return folder


@pytest.fixture
def farm(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Farm]:
    monkeypatch.setenv("FARM_DB", str(runs / "farm.db"))
    monkeypatch.setenv("COLUMNS", "200")
    yield Farm(runs, capsys, monkeypatch)


def test_show_gives_one_row_a_test(farm: Farm) -> None:
    body = farm.json("show", "last")
    assert set(body) == {"schema", "run", "cases"}
    assert body["run"] == run_id(2)
    assert len(body["cases"]) == 162
    for case in body["cases"]:
        assert set(case) == FIELDS["case"]
        assert all(set(sample) == FIELDS["sample"] for sample in case["samples"])
        assert all(set(one) == FIELDS["absent"] for one in case["absent"])
    values = [sample["value"] for case in body["cases"] for sample in case["samples"]]
    assert values and all(isinstance(value, int) for value in values)
    keys = [(case["board"], case["test"], str(case["params"])) for case in body["cases"]]
    assert len(set(keys)) == len(keys)


def test_the_objects_are_as_documented(farm: Farm, tmp_path: Path) -> None:
    shown = farm.json("show")
    assert documented("farm show RUN --json") == (
        set(shown) | FIELDS["case"] | FIELDS["sample"] | FIELDS["absent"]
    )
    listed = farm.json("runs")
    assert documented("farm runs --json") == set(listed) | set(listed["runs"][0])
    taken = farm.json("ingest", str(farm.folder))
    assert documented("farm ingest JOURNAL... --json") == set(taken) | set(taken["journals"][0])
    written = farm.json("report", "--out", str(tmp_path / "r.html"))
    assert documented("farm report RUN --json") == set(written)
    exported = farm.json("export", "last", "--format", "ktap")
    filed = farm.json("export", "last", "--format", "ktap", "--out", str(tmp_path / "k"))
    assert documented("farm export RUN --json") == set(exported) | set(filed)
    assert (tmp_path / "k").read_text() == exported["content"]


def test_the_export_is_as_documented(farm: Farm) -> None:
    code, out, _ = farm("export", "last", "--format", "json")
    assert code == 0
    names: set[str] = set()

    def collect(value: Any, where: str) -> None:
        if isinstance(value, dict):
            if where not in {"verdicts", "params", "hardware", "effort", "facts", "topology"}:
                names.update(value)
            for name, inner in value.items():
                if where not in {"verdicts", "params", "hardware", "effort", "facts", "topology"}:
                    collect(inner, name)
        elif isinstance(value, list):
            for inner in value:
                collect(inner, where)

    collect(json.loads(out), "")
    inherited = documented("farm show RUN --json")
    assert documented("farm export RUN --format json") | inherited == names | {"cases"}


def test_show_exits_0_and_lists_failures_first(farm: Farm) -> None:
    code, out, err = farm("show")
    assert code == 0
    verdicts = re.findall(r"^(FAIL|ERROR|XPASS|INFRA|MISS|XFAIL|PASS|SKIP) ", out, re.M)
    assert verdicts[:3] == ["FAIL"] * 3 and "PASS" not in verdicts
    assert "\x1b[31mred" not in out and "\x00" not in out
    assert "--all lists them" in err
    assert farm("show", "--all")[1].count("PASS ") > 100
    assert HOSTILE not in out


def test_show_tells_of_second_attempts(farm: Farm) -> None:
    said = "needed a second attempt, as the board hung or its link was lost: "
    assert farm("show")[1].count(said) == 1
    assert said not in farm("show", run_id(1))[1]


def test_runs_are_listed_newest_first(farm: Farm) -> None:
    body = farm.json("runs")
    assert [run["run"] for run in body["runs"]] == [run_id(2), run_id(1)]
    assert body["runs"][0]["exit"] == 1 and body["runs"][1]["exit"] == 0
    assert len(farm.json("runs", "-n", "1")["runs"]) == 1
    assert farm("runs")[1].splitlines()[1].startswith(run_id(2))


def test_an_unknown_run_exits_2_and_names_the_nearest(farm: Farm) -> None:
    wrong = run_id(1)[:-1] + "x"
    for words in (["show", wrong], ["report", wrong], ["export", wrong, "--format", "junit"]):
        code, out, err = farm(*words)
        assert (code, out) == (2, "")
        assert run_id(1) in err and "farm runs" in err


def test_a_prefix_is_enough(farm: Farm) -> None:
    assert farm.json("show", run_id(1)[:13])["run"] == run_id(1)
    assert farm("show", "20260921")[0] == 2


def test_export_writes_to_stdout_or_a_file(farm: Farm, tmp_path: Path) -> None:
    code, out, _ = farm("export", "last", "--format", "junit")
    assert code == 0 and out.startswith("<?xml")
    path = tmp_path / "run.xml"
    assert farm("export", "last", "--format", "junit", "--out", str(path))[0] == 0
    assert path.read_text() == out
    code, _, err = farm("export", "last", "--format", "yaml")
    assert code == 2 and "json, junit, ktap" in err
    assert farm("export", "last", "--format", "ktap", "--out", str(tmp_path / "no" / "x"))[0] == 3


def test_report_writes_one_file(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = farm("report")
    assert code == 0
    assert out.strip() == str(tmp_path / f"{run_id(2)}.html")
    assert Path(out.strip()).read_text().startswith("<!doctype html>")


def test_ingest_tells_what_it_took(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_DB", str(tmp_path / "new.db"))
    path, other = write_run(tmp_path, 3)
    first = farm.json("ingest", str(path))["journals"]
    assert [(one["run"], one["changed"]) for one in first] == [(run_id(3), True)]
    both = farm.json("ingest", str(tmp_path))["journals"]
    assert sorted(one["changed"] for one in both) == [False, True]
    broken = tmp_path / "journal.jsonl"
    broken.write_bytes(other.read_bytes().replace(b'"type":"case_finished"', b'"type":"x"', 1))
    monkeypatch.setenv("FARM_DB", str(tmp_path / "third.db"))
    code, out, err = farm("ingest", str(broken), str(path), "--json")
    assert code == 2
    taken = json.loads(out)["journals"]
    assert [bool(one["problem"]) for one in taken] == [True, False]
    assert "are kept" in err and str(broken) in err
    assert farm("ingest", str(tmp_path / "nothing.jsonl"))[0] == 2
    (tmp_path / "empty").mkdir()
    assert farm("ingest", str(tmp_path / "empty"))[0] == 2


def test_a_run_whose_journal_is_damaged_says_so_and_has_its_report(tmp_path: Path) -> None:
    path, other = write_run(tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"type":"case_finished"', b'"type":"case_f\xff"', 1))
    specs: Any = [SimpleNamespace(journal=one) for one in (path, other)]
    report, troubles = keep(str(tmp_path / "new.db"), run_id(3), specs, tmp_path)
    assert report and Path(report).is_file()
    assert [str(path) in str(one) and "are kept" in str(one) for one in troubles] == [True]


@pytest.mark.parametrize(
    "words",
    [("runs",), ("show",), ("report",), ("export", "last", "-f", "json"), ("requirements",)],
)
def test_who_only_reads_makes_no_database(
    farm: Farm, tmp_path: Path, words: tuple[str, ...]
) -> None:
    mistyped = tmp_path / "frm.db"
    code, out, err = farm(*words, "--db", str(mistyped))
    assert (code, out) == (2, "") and f"{mistyped}: there is no such database" in err
    assert not mistyped.exists()


@pytest.mark.parametrize("url", ["nosuch://joe:hunter2@db/farm", "postgresql:x://joe:hunter2@db/f"])
def test_a_password_is_not_told(farm: Farm, url: str) -> None:
    code, out, err = farm("runs", "--db", url)
    assert (code, out) == (2, "") and "joe" not in out and "hunter2" not in err


def test_a_database_that_cannot_be_opened_exits_2(farm: Farm, tmp_path: Path) -> None:
    code, out, err = farm("runs", "--db", str(tmp_path / "none" / "farm.db"))
    assert (code, out) == (2, "")
    assert "mkdir" in err
