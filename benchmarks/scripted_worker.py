"""A worker whose board is a script: all that judges and records is real, and nothing else happens.

``python -m benchmarks.scripted_worker JOB.json``: cases one after the other, as quick as they come,
and then one every :data:`PACE_S` seconds, as real boards are. What each decision took goes into
``decisions.json`` in the job's folder.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

from scripted_board import ScriptedConsole, ScriptedLink, ScriptedPayload, passes, small_payload

import farm.board.labgrid
import farm.board.target
import farm.pytest_plugin.plugin
import farm.run.worker  # noqa: F401  what a worker has loaded weighs as much here
from farm import events
from farm.board.complaints import Ledger
from farm.board.session import BoardSession
from farm.inventory import load_board_types
from farm.model import Verdict
from farm.run.job import JobSpec
from farm.run.journal import JournalWriter

PACE_S = 1.0
"""How often a board at its own pace has a case for us."""
GO = "go"
"""File in the run's folder that lets all workers begin."""
RESULT = "decisions.json"


def main() -> None:
    """Do the job; its ``suites`` say how many cases of either kind."""
    spec = JobSpec.load(Path(sys.argv[1]))
    flat_out, paced = (int(word) for word in spec.suites)
    names = [f"scripted.py::test[{number}]" for number in range(flat_out + paced)]
    console = ScriptedConsole()
    session = BoardSession(
        link=ScriptedLink(lambda: ScriptedPayload({"nothing": passes})),
        console=console,
        ledger=Ledger(console),
        payload=small_payload(spec.folder),
        limits=load_board_types()["virt-noiommu"].limits,
        counters=(),
    )
    session.open()
    with JournalWriter.create(spec.journal) as journal:
        journal.write(
            events.JobStarted(
                run=spec.run, job=spec.job, board=spec.board, board_type=spec.board_type,
                image=spec.image, pid=os.getpid(),
            )
        )  # fmt: skip
        keys = [events.Key(nodeid=name, suite="scripted", test="test") for name in names]
        journal.write(events.Plan(tests=keys))
        while not (spec.folder.parent / GO).exists():
            time.sleep(0.02)
        began = time.time()
        took = [_decide(session, journal, name) for name in names[:flat_out]]
        ended = time.time()
        at_pace = []
        for name in names[flat_out:]:
            time.sleep(PACE_S)
            at_pace.append(_decide(session, journal, name))
        journal.write(events.JobFinished())
    found = {
        "flat_out": took, "began": began, "ended": ended, "paced": at_pace, "pss_kib": _memory(),
    }  # fmt: skip
    (spec.folder / RESULT).write_text(json.dumps(found))


def _decide(session: BoardSession, journal: JournalWriter, name: str) -> float:
    """Run a case; return the seconds from its answer to its verdict on the disk."""
    journal.write(events.CaseStarted(nodeid=name))
    began = time.perf_counter()
    result = session.run("nothing", {})
    journal.write(
        events.CaseFinished(
            nodeid=name,
            verdict=Verdict.PASS if result.outcome == "pass" else Verdict.FAIL,
            case_hash=result.case_hash,
            samples=[
                events.SampleEvent(metric=one.metric, value=one.value, unit=one.unit)
                for one in result.samples
            ],
        )
    )
    return time.perf_counter() - began


def _memory() -> int:
    """Return the process's share of memory: its own pages, and its part of those it shares."""
    text = Path("/proc/self/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
    assert match is not None
    return int(match[1])


if __name__ == "__main__":
    main()
