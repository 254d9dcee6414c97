"""The store under several processes at once, as `farm run` and `farm ingest` use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from journals import run_id, write_run

from farm.store import load_run, open_store


def test_processes_may_open_and_write_at_once(tmp_path: Path) -> None:
    paths = [path for number in (1, 2) for path in write_run(tmp_path, number)]
    database = str(tmp_path / "farm.db")
    code = (
        "import sys; from pathlib import Path; from farm.store import ingest, open_store\n"
        "with open_store(sys.argv[1]) as store: ingest(Path(sys.argv[2]), store)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, database, str(path)]) for path in paths
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]
    with open_store(database) as store:
        assert [len(load_run(store, run_id(number)).jobs) for number in (1, 2)] == [2, 2]
