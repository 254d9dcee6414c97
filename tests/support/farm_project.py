"""A project with suites of its own and the real board configs, and the command line on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from suite_files import write_suite

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest

@pytest.mark.requirement("MAP-1", "MAP-2")
@pytest.mark.over(importer="drm importer")
@pytest.mark.parametrize("size", [4096, 65536])
def test_second_import(importer, size):
    pass

@pytest.mark.requirement("MAP-9")
@pytest.mark.skipif(False, reason="never")
def test_iommu_is_there():
    pass

@pytest.mark.requirement("SYN-11")
@pytest.mark.declared("sw_sync")
def test_sw_sync():
    pass

@pytest.mark.requirement("CON-4")
@pytest.mark.over(heap="heap v4l2")
def test_on_no_board(heap):
    pass

@pytest.mark.requirement("CON-2")
@pytest.mark.over(importer="drm importer iommu")
def test_behind_an_iommu(importer):
    pass

@pytest.mark.full
@pytest.mark.requirement("MAP-10")
@pytest.mark.parametrize("size", [4096, 65536])
def test_long(size):
    pass
"""


class FarmProject:
    """The command line on a project with two suites, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        """Make the project in ``folder``."""
        (folder / "board-configs").symlink_to(ROOT / "board-configs")
        shutil.copytree(ROOT / "testsuites" / "refdev", folder / "testsuites" / "refdev")
        for name in ("mapcache", "sync"):
            write_suite(folder / "testsuites" / name)
        (folder / "testsuites" / "mapcache" / "test_it.py").write_text(SUITE)
        (folder / "testsuites" / "sync" / "test_other.py").write_text(
            "def test_other():\n    pass\n"
        )
        for name in ("requirements.yaml", "pytest.ini"):
            text = (ROOT / "testsuites" / name).read_text()
            (folder / "testsuites" / name).write_text(text)
        self.folder = folder

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr of ``farm WORDS``."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LG_")}
        places = {f"XDG_{name}_HOME": str(self.folder / name) for name in ("STATE", "DATA")}
        done = subprocess.run(
            [sys.executable, "-c", "from farm.cli.main import main; main()", *words],
            env={
                **kept,
                **places,
                "FARM_ROOT": str(self.folder),
                "PATH": str(self.folder),
                "COLUMNS": "160",
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def listed(self, *words: str) -> dict[str, list[str]]:
        """Return the tests that ``farm run --list`` lists, by board type."""
        code, out, err = self("run", "--list", "--json", *words)
        assert code == 0, err
        return {
            row["board_type"]: [test["nodeid"].partition("::")[2] for test in row["tests"]]
            for row in json.loads(out)["board_types"]
        }
