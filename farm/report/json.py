"""JSON: a run's cases for other programs; ``docs/json.md`` describes every object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from farm.analysis import exit_of, summarise
from farm.analysis.judgement import Judgement, judge
from farm.model import Verdict, tally
from farm.report.text import iso, number
from farm.store.records import BootRecord, JobRecord, RunLine, RunRecord, TestRecord

SCHEMA = 1
"""Version of the objects; it grows when a field changes its meaning or goes."""


def render(run: RunRecord) -> str:
    """Return everything that is known of a run as one JSON object."""
    return json.dumps(document(run), indent=1, allow_nan=False) + "\n"


def document(run: RunRecord) -> dict[str, Any]:
    """Return the object of ``farm export --format json``."""
    summary = summarise(run)
    return {
        "schema": SCHEMA,
        "run": run.id,
        "started": iso(run.started_at),
        "ended": iso(run.ended_at),
        "exit": summary.exit,
        "verdicts": _verdicts(summary.verdicts),
        "jobs": [_job(job) for job in run.jobs],
        "cases": _cases(run, full=True),
    }


def show(run: RunRecord) -> dict[str, Any]:
    """Return the object of ``farm show --json``: one row per test with its parameters."""
    return {
        "schema": SCHEMA,
        "run": run.id,
        "cases": _cases(run),
    }


def run_line(line: RunLine) -> dict[str, Any]:
    """Return one row of ``farm runs --json``."""
    return {
        "run": line.id,
        "started": iso(line.started_at),
        "ended": iso(line.ended_at),
        "exit": exit_of(line.verdicts.values(), ok=line.ok),
        "boards": {board: _verdicts(counts) for board, counts in line.verdicts.items()},
    }


def _verdicts(counts: Mapping[Verdict, int]) -> dict[str, int]:
    return {verdict.value: counted for verdict, counted in counts.items()}


def _cases(run: RunRecord, *, full: bool = False) -> list[dict[str, Any]]:
    judged = judge(run)
    return [
        {
            **_case(job, test, full=full),
            "judgement": judgement(judged.get((job.job, test.nodeid))),
        }
        for job in run.jobs
        for test in job.final_tests
    ]


def judgement(judged: Judgement | None) -> dict[str, Any] | None:
    """Return what the follow-ups of a test say of it, None where there were none."""
    if judged is None:
        return None
    return {
        "kind": judged.kind.value,
        "text": judged.text,
        "tallies": [
            {"board": one.board, "failed": one.failed, "of": one.of} for one in judged.tallies
        ],
    }


def _case(job: JobRecord, test: TestRecord, *, full: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "board": job.board,
        "board_type": job.board_type,
        "attempt": test.attempt,
        "suite": test.suite,
        "test": test.test,
        "case": test.case,
        "params": dict(test.params),
        "requirements": list(test.requirements),
        "verdict": test.verdict.value,
        "reason": test.reason,
        "duration_s": number(test.duration_s),
        "samples": [
            {
                "metric": sample.metric,
                "value": number(sample.value),
                "unit": sample.unit,
                "params": dict(sample.params),
                "replicate": sample.replicate,
            }
            for sample in test.samples
        ],
        "absent": [{"counter": one.counter, "reason": one.reason} for one in test.absent],
        "replicates": [
            {
                "verdict": one.verdict.value,
                "reason": one.reason,
                "duration_s": number(one.duration_s),
            }
            for one in test.replicates
        ],
        "seed": job.effort.seed if test.seeded else None,
        "decisions": test.decisions,
        "again": job.again(test),
    }
    if full:
        row |= {
            "job": job.job,
            "nodeid": test.nodeid,
            "case_hash": test.case_hash,
            "started": iso(test.started_at) if test.started_at else None,
            "boot": test.boot,
            "console": list(test.console),
            "cell": _cell(test),
            "observed": dict(test.observed) or None,
        }
    return row


def _cell(test: TestRecord) -> dict[str, str] | None:
    if test.cell is None:
        return None
    cell = test.cell
    return {
        "exporter": cell.exporter,
        "importer": cell.importer,
        "outcome": cell.outcome,
        "errno": cell.errno,
    }


def _job(job: JobRecord) -> dict[str, Any]:
    return {
        "job": job.job,
        "board": job.board,
        "board_type": job.board_type,
        "hardware": dict(job.hardware),
        "image": {
            "profile": job.image.profile,
            "id": job.image.id,
            "packages": [
                {
                    "package": one.package,
                    "version": one.version,
                    "architecture": one.architecture,
                    "sha256": one.sha256,
                }
                for one in job.image.packages
            ],
        },
        "kernel": job.kernel,
        "farm_version": job.farm_version,
        "effort": {**job.effort.model_dump(), "stress_s": number(job.effort.stress_s)},
        "plan": job.plan,
        "purpose": job.purpose.value,
        "follows": list(job.follows),
        "controller": job.controller,
        "journal": job.journal,
        "started": iso(job.started_at),
        "ended": iso(job.ended_at),
        "finished": job.finished,
        "ok": job.ok,
        "reason": job.reason,
        "problem": job.problem,
        "verdicts": _verdicts(tally(test.verdict for test in job.final_tests)),
        "boots": [_boot(boot) for boot in job.boots],
        "states": [
            {"at": iso(one.at), "state": one.state, "detail": one.detail} for one in job.states
        ],
        "complaints": [
            {
                "at": iso(one.at),
                "pattern": one.pattern,
                "line": one.line,
                "nodeid": one.nodeid,
                "attempt": one.attempt,
                "fatal": one.fatal,
            }
            for one in job.complaints
        ],
        "artifacts": [
            {"name": one.name, "path": one.path, "sha256": one.sha256, "kind": one.kind}
            for one in job.artifacts
        ],
    }


def _boot(boot: BootRecord) -> dict[str, Any]:
    return {
        "boot": boot.boot,
        "at": iso(boot.at),
        "kernel": boot.kernel,
        "boot_s": boot.boot_s,
        "facts": dict(boot.facts),
        "topology": dict(boot.topology),
    }
