"""``farm expectations``: what a run saw as NEW gets rows, with a reason, once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documented import documented
from journals import run_id, write_run

from farm.cli.main import main
from farm.pytest_plugin.expectations import load_expectations
from farm.store import ingest, open_store

ROOT = Path(__file__).parents[2]
REASON = "the test's own kernel does it so (drivers/gpu/drm/drm_prime.c)"
Farm = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with open_store(str(folder / "farm.db")) as store:
        for number in (1, 2):
            for path in write_run(folder, number, trouble=number == 1):
                ingest(path, store)
    return folder / "farm.db"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A project with a table that knows nothing of the run's kernel."""
    (tmp_path / "board-configs").mkdir()
    (tmp_path / "testsuites").mkdir()
    path = tmp_path / "testsuites" / "expectations.yaml"
    shutil.copy(ROOT / "testsuites" / "expectations.yaml", path)
    path.write_text(path.read_text().replace(">=6.1,<6.13", ">=6.1,<6.12"))
    return path


@pytest.fixture
def farm(
    database: Path,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Farm]:
    monkeypatch.setenv("FARM_DB", str(database))
    monkeypatch.setenv("FARM_ROOT", str(table.parents[1]))
    monkeypatch.setenv("COLUMNS", "250")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["farm", "expectations", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0, *capsys.readouterr())

    yield call


def test_what_is_new_is_accepted_once(farm: Farm, table: Path) -> None:
    before = table.read_text()
    code, out, err = farm("accept", run_id(1), "--reason", REASON, "--dry-run")
    assert (code, table.read_text()) == (0, before)
    assert "1 rows would be added" in err
    assert farm("accept", run_id(1), "--reason", REASON)[1] == out
    assert out.startswith("--- a/expectations.yaml\n+++ b/expectations.yaml\n@@")
    assert "+    reason: >-\n+      the test's own kernel does it so" in out
    after = table.read_text()
    assert after != before
    code, out, err = farm("accept", run_id(1), "--reason", REASON)
    assert (code, out, table.read_text()) == (0, "", after)
    assert "have a row that says so already" in err
    assert len(load_expectations(table).imports) == before.count("outcome:") + 1


def test_a_reason_is_demanded(farm: Farm, table: Path) -> None:
    before = table.read_text()
    code, out, err = farm("accept", run_id(1))
    assert (code, out) == (2, "")
    assert "NEW  " in err and "no --reason was given" in err
    assert farm("accept", run_id(1), "--reason", "so")[0] == 2
    assert table.read_text() == before


def test_a_run_without_anything_new_says_so(farm: Farm) -> None:
    assert "saw nothing new" in farm("accept", run_id(2))[2]
    code, out, err = farm("accept", run_id(1), "--reason", REASON, "--importer", "nosuch")
    assert (code, out) == (0, "") and "saw nothing new of that kind" in err


def test_a_row_that_says_otherwise_is_exit_1(farm: Farm, table: Path) -> None:
    assert farm("accept", run_id(1), "--reason", REASON)[0] == 0
    table.write_text(table.read_text().replace("    maps: 1\n    reason: >-\n      the test's", (
        "    maps: 0\n    reason: >-\n      the test's"
    )))  # fmt: skip
    code, out, err = farm("accept", run_id(1), "--reason", REASON)
    assert (code, out) == (1, "")
    assert f"{table}:" in err and ": expects " in err


def test_the_objects_are_as_documented(farm: Farm) -> None:
    body = json.loads(farm("list", "--json")[1])
    assert documented("farm expectations list --json") == set(body) | set(body["expectations"][0])
    assert body["expectations"][0]["line"] > 1
    code, out, _ = farm("accept", run_id(1), "--reason", REASON, "--json")
    told = json.loads(out)
    assert code == 0 and told["written"] and len(told["added"]) == 1
    assert documented("farm expectations accept RUN --json") == set(told) | set(told["added"][0])


def test_rows_are_listed_and_narrowed(farm: Farm, table: Path) -> None:
    _, out, _ = farm("list")
    assert out.splitlines()[0].strip() == str(table)
    _, out, _ = farm("list", "--importer", "bochs-drm")
    assert "refused with EINVAL" in out and "vb2_vmalloc" not in out
