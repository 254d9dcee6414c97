"""The commands that read results: runs, ingest, show, report, export."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.outcome import print_again, print_second_attempts, unread
from farm.cli.output import JsonFlag, add_row, err, error_text, out, print_json, table
from farm.errors import FarmError, InfraError, JournalError, UsageError
from farm.model import WORST_FIRST, Verdict

if TYPE_CHECKING:
    from rich.table import Table

    from farm.analysis.judgement import Judgements
    from farm.store import IngestResult
    from farm.store.records import JobRecord, RunRecord, TestRecord

app = typer.Typer()

DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="FARM_DB",
        help="Database: a file, or an SQLAlchemy URL. Default: farm.db in the data folder.",
        show_default=False,
    ),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the start of one, or `last`.")
]

REASON = 160
"""Characters of a reason in a table; the report has all of it."""

STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.XPASS: "red",
    Verdict.ERROR: "bold magenta",
    Verdict.NEW: "bold blue",
    Verdict.INFRA: "yellow",
    Verdict.MISS: "yellow",
    Verdict.SKIP: "dim",
    Verdict.XFAIL: "cyan",
}
"""How a verdict looks on a terminal."""


@app.command()
def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List this many.")] = 20,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List runs, newest first."""
    from farm.analysis.verdicts import total
    from farm.report.json import run_line
    from farm.report.text import duration, iso
    from farm.store import list_runs, open_store

    with open_store(db, make=False) as store:
        lines = list_runs(store, limit)
    if as_json:
        print_json({"runs": [run_line(line) for line in lines]})
        return
    if not lines:
        err().print("no runs yet; `farm run` makes one")
        return
    listing = table("run", "started", "took", "boards", "verdicts")
    for line in lines:
        verdicts = total(line.verdicts.values())
        cells = (
            line.id,
            iso(line.started_at)[:16].replace("T", " "),
            duration(line.ended_at - line.started_at),
            " ".join(line.verdicts),
            _counts(verdicts) or "nothing ran",
        )
        add_row(listing, cells, styles={4: STYLES[next(iter(verdicts))] if verdicts else "yellow"})
    out().print(listing)


@app.command()
def ingest(
    journals: Annotated[
        list[Path],
        typer.Argument(
            metavar="JOURNAL...",
            help="Journals of jobs, or folders of runs (every journal.jsonl below is taken).",
        ),
    ],
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take journals into the store; a journal that is there already changes nothing.

    A journal of a run that was killed is taken as far as it goes. One with lines that cannot be
    read is taken without them; the command then tells of them and exits 2.
    """
    from farm.store import ingest as take
    from farm.store import open_store

    taken: list[IngestResult] = []
    failures: list[FarmError] = []
    with open_store(db) as store:
        for journal in _journals(journals):
            try:
                result = take(journal, store)
            except JournalError as error:
                failures.append(error)
                continue
            taken.append(result)
            if result.problem:
                failures.append(unread(result))
    if as_json:
        print_json({"journals": [_ingested(result) for result in taken]})
    else:
        for result in taken:
            state = "taken" if result.changed else "unchanged"
            out().print(
                f"{state}: run {result.run} job {result.job}: {result.tests} tests, "
                f"{result.samples} samples"
            )
    for failure in failures:
        print(error_text(failure), file=sys.stderr)
    if failures:
        raise typer.Exit(2)


@app.command()
def show(
    run: RunArgument = "last",
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="List what passed or was skipped, too.")
    ] = False,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what came out of a run, failures first; exits 0 whatever it was."""
    from farm.analysis.judgement import judge
    from farm.report.json import show as shown

    record = load_record(run, db)
    if as_json:
        print_json(shown(record))
        return
    console = out()
    console.print(_boards(record))
    print_second_attempts([reason for job in record.jobs for reason in job.first_reasons])
    rows = _sorted(record)
    listed = [
        row for row in rows if everything or row[1].verdict not in (Verdict.PASS, Verdict.SKIP)
    ]
    if listed:
        console.print()
        console.print(_cases(listed, judge(record)))
    print_again([job.again(test) for job, test in rows if test.verdict.is_failure], record.id)
    if hidden := len(rows) - len(listed):
        err().print(f"{hidden} passed or skipped (--all lists them)")


@app.command()
def report(
    run: RunArgument = "last",
    to: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write. Default: RUN.html here."),
    ] = None,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a run's report: one HTML file that opens without a network."""
    from farm.report.html import write_html
    from farm.store import open_store, resolve_run

    with open_store(db, make=False) as store:
        chosen = resolve_run(store, run)
        path = to or Path(f"{_file_name(chosen)}.html")
        try:
            write_html(store, chosen, path)
        except OSError as error:
            raise _unwritable(path, error) from error
    if as_json:
        print_json({"run": chosen, "report": str(path.absolute())})
    else:
        print(path.absolute())


@app.command()
def export(
    run: RunArgument,
    output_format: Annotated[
        str, typer.Option("--format", "-f", metavar="junit|json|ktap|markdown", help="The format.")
    ],
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write. Default: stdout.")
    ] = None,
    db: DbOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a run in a format that other programs read.

    With --json, stdout holds an object with the text in `content`, or the file in `path`.
    """
    from farm.report import FORMATS

    if output_format not in FORMATS:
        raise UsageError(
            f"unknown format {output_format!r}", next_step=f"one of {', '.join(FORMATS)}"
        )
    record = load_record(run, db)
    text = FORMATS[output_format](record)
    body = {"run": record.id, "format": output_format}
    if to is not None:
        try:
            to.write_text(text, encoding="utf-8")
        except OSError as error:
            raise _unwritable(to, error) from error
        if as_json:
            print_json({**body, "path": str(to.absolute())})
    elif as_json:
        print_json({**body, "content": text})
    else:
        sys.stdout.write(text)


def load_record(run: str, db: str | None) -> RunRecord:
    """Return the run that an id, the start of one, or `last` means."""
    from farm.store import load_run, open_store, resolve_run

    with open_store(db, make=False) as store:
        return load_run(store, resolve_run(store, run))


def _journals(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.rglob("journal.jsonl"))
        if not found:
            raise UsageError(f"{path}: no journal.jsonl below it")
        yield from found


def _ingested(result: IngestResult) -> dict[str, object]:
    return {
        "run": result.run,
        "job": result.job,
        "events": result.events,
        "tests": result.tests,
        "samples": result.samples,
        "changed": result.changed,
        "problem": result.problem,
    }


def _boards(run: RunRecord) -> Table:
    from farm.analysis import summarise

    boards = table("board", "type", "kernel", "verdicts", "", title=f"run {run.id}")
    for job, summary in zip(run.jobs, summarise(run).jobs, strict=True):
        verdicts = summary.verdicts
        cells = (job.board, job.board_type, job.kernel or "never came up", _counts(verdicts))
        style = STYLES[next(iter(verdicts))] if verdicts else "yellow"
        note = "; ".join(filter(None, (job.errand, summary.reason)))
        add_row(boards, (*cells, note), styles={3: style, 4: "yellow"})
    return boards


def _cases(rows: Sequence[tuple[JobRecord, TestRecord]], judged: Judgements) -> Table:
    from farm.report.text import assignments, duration, one_line, shorten

    cases = table("verdict", "board", "suite", "test", "took", "reason")
    alike = Counter(
        (job.board, test.suite, test.reason) for job, test in rows if test.verdict is Verdict.SKIP
    )
    for job, test in rows:
        told = judged.get((job.job, test.nodeid))
        reason = "; ".join(filter(None, (told.text if told else "", test.reason)))
        name = f"{test.test} {assignments(test.params)}".strip()
        if test.verdict is Verdict.SKIP:
            number = alike.pop((job.board, test.suite, test.reason), 0)
            if not number:
                continue  # told with the first that was left out for this reason
            name = f"{number} tests" if number > 1 else name
        cells = (
            test.verdict.value,
            job.board,
            test.suite,
            name,
            duration(test.duration_s),
            shorten(one_line(reason), REASON),
        )
        add_row(cases, cells, styles={0: STYLES[test.verdict]})
    return cases


def _sorted(run: RunRecord) -> list[tuple[JobRecord, TestRecord]]:
    rows = [(job, test) for job in run.jobs for test in job.final_tests]
    return sorted(rows, key=lambda row: WORST_FIRST.index(row[1].verdict))


def _counts(verdicts: Mapping[Verdict, int]) -> str:
    return ", ".join(f"{number} {verdict.value}" for verdict, number in verdicts.items())


def _file_name(run: str) -> str:
    """Return a run's id as a file name; an id is text from a journal."""
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in run)
    return safe.lstrip(".")[:100] or "run"


def _unwritable(path: Path, error: OSError) -> InfraError:
    return InfraError(f"{path}: cannot be written: {error.strerror}")
