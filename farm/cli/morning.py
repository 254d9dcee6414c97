"""The morning report of a night that is over, whoever finished it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.cli.output import err, error_text, printable
from farm.errors import FarmError, InfraError

if TYPE_CHECKING:
    from farm.analysis.morning import Morning
    from farm.run.orchestrator import Job
    from farm.run.unfinished import RunRecord


@dataclass(frozen=True, slots=True)
class MorningReport:
    """What a night came to, and its page; paths are empty where a file could not be written."""

    morning: Morning
    page: str
    path: str
    report: str

    @property
    def body(self) -> dict[str, Any]:
        """The report as JSON has it."""
        from farm.report.morning import document

        return {**document(self.morning), "report": self.report, "morning": self.path}


def report_morning(
    record: RunRecord, jobs: Sequence[Job], report: str, troubles: Sequence[str]
) -> MorningReport:
    """Compare a night with those before it, and write the page beside its ``report``."""
    from farm.report.html import write_whole
    from farm.report.morning import render

    found = _compared(record, jobs, troubles)
    page = render(found, Path(report).name if report else "")
    path = record.folder / "morning.html"
    try:
        write_whole(path, page)
    except OSError as error:
        trouble = InfraError(f"{path}: cannot be written: {error.strerror}")
        err().print(printable(error_text(trouble)))
        return MorningReport(found, page, "", report)
    return MorningReport(found, page, str(path), report)


def _compared(owed: RunRecord, jobs: Sequence[Job], troubles: Sequence[str]) -> Morning:
    """Return what the night says; where the store cannot say it, that is what it says."""
    from farm.analysis.morning import morning
    from farm.store import load_run, open_store
    from farm.store.earlier import earlier
    from farm.store.records import RunRecord

    record = RunRecord(owed.run, owed.began, ())
    try:
        with open_store(owed.db) as store:
            if jobs:
                record = load_run(store, owed.run)
            known = earlier(store, plan=owed.plan, before=record)
    except FarmError as error:
        said = f"the results are in their journals only: {error.message}"
        return morning(record, {}, plan=owed.plan, troubles=[*troubles, said])
    return morning(record, known, plan=owed.plan, troubles=troubles)
