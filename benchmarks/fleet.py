"""A hundred scripted boards on one controller: how quickly it decides, and what a worker weighs.

A decision is a verdict: from a case's answer to its line in the journal, on the disk, judged by the
code that judges real boards. The orchestrator follows all the journals meanwhile.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Bench, Part
from benchmarks.scripted_worker import GO, PACE_S, RESULT
from farm import events
from farm.errors import InfraError
from farm.run.job import JobSpec
from farm.run.orchestrator import TICK_S, Job, Orchestrator

WORKER = (sys.executable, "-m", "benchmarks.scripted_worker")


class _Starter:
    """Progress that lets the workers begin once all of them are there."""

    def __init__(self, folder: Path) -> None:
        self._go = folder / GO

    def update(self, jobs: Sequence[Job]) -> None:
        if all(job.view.planned or job.over for job in jobs):
            self._go.touch()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)


class _Looks:
    """The orchestrator's sleep; it keeps how long each look at the jobs took in between."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self._woke = 0.0

    def sleep(self, seconds: float) -> None:
        if self._woke:
            self.took.append(time.perf_counter() - self._woke)
        time.sleep(seconds)
        self._woke = time.perf_counter()


def measure(bench: Bench) -> Part:
    """Measure.

    Raises:
        InfraError: a worker failed.
    """
    part = Part("fleet")
    boards = bench.times(100, 4)
    flat_out, paced = bench.times(50, 5), bench.times(20, 2)
    looks = _Looks()
    specs = [_spec(bench.folder, number, flat_out, paced) for number in range(boards)]
    jobs = Orchestrator(specs, _Starter(bench.folder), sleep=looks.sleep, command=WORKER).run()
    found = [_result(job, flat_out + paced) for job in jobs]
    spent = max(one["ended"] for one in found) - min(one["began"] for one in found)
    part.add(f"decisions per second, {boards} boards flat out", [boards * flat_out / spent], "/s")
    part.add("a decision, flat out", _all(found, "flat_out"), "s", tail=True)
    part.add(f"a decision, a case every {PACE_S:g} s", _all(found, "paced"), "s", tail=True)
    part.add("the orchestrator's look at all journals", looks.took, "s", tail=True)
    part.add("memory of a worker", [one["pss_kib"] / 1024 for one in found], "MiB", tail=True)
    part.notes.append(
        f"{boards} workers, each with a scripted board; the orchestrator looks every {TICK_S:g} s"
    )
    return part


def _spec(folder: Path, number: int, flat_out: int, paced: int) -> JobSpec:
    board = f"scripted-{number}"
    return JobSpec(
        run="bench",
        job=board,
        coordinator="127.0.0.1:1",
        board=board,
        board_type="scripted",
        config=folder / "none.yaml",
        image=events.ImageInfo(profile="none"),
        suites=[str(flat_out), str(paced)],
        folder=folder / board,
    )


def _result(job: Job, cases: int) -> dict[str, Any]:
    if job.exit or job.view.done != cases:
        raise InfraError(
            f"the scripted worker of {job.spec.board} ended with {job.exit} after {job.view.done} "
            f"of {cases} cases",
            next_step=job.spec.worker_log.read_text(errors="replace").strip()[-300:],
        )
    found: dict[str, Any] = json.loads((job.folder / RESULT).read_text())
    return found


def _all(found: Sequence[dict[str, Any]], key: str) -> list[float]:
    return list(itertools.chain.from_iterable(one[key] for one in found))
