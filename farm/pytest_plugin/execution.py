"""Execution of tests on a board: attempts, verdicts, events.

A test whose board was lost is tried once more after a power cycle. One whose kernel died is not:
that is its failure, and the next test finds a rebooted board.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import replace

import pytest
from _pytest.runner import runtestprotocol

from farm import events
from farm.errors import FarmError, InfraError
from farm.model import Verdict, worst
from farm.pytest_plugin.board import Board
from farm.pytest_plugin.cells import Cell
from farm.pytest_plugin.collection import keep, key_of, nodeid_of, parametrise, skip_undeclared
from farm.pytest_plugin.job import Job
from farm.pytest_plugin.overdue import Overdue
from farm.pytest_plugin.programs import Programs
from farm.pytest_plugin.record import MAX_SAMPLES, RECORD, Phase, Record
from farm.pytest_plugin.settings import usage_error
from farm.pytest_plugin.stress import Stress, timed_rounds
from farm.pytest_plugin.subcases import events_of, parents, reports_of
from farm.pytest_plugin.verdicts import Ruling, blame_kernel, judge, overruled_by, overrules_xfail
from farm.run.job import LATE, TIME_BOX
from farm.run.view import ATTEMPTS

CONSOLE_LINES = 40
"""Console lines that go with a verdict that wants explaining."""
LOOK_AGAIN_S = 300.0
"""After a suite, lost memory is looked for if that was not done for so long: it takes a while."""
EXIT_FAILED = 1
EXIT_GAPS = 3

_EXPLAINED = frozenset({Verdict.FAIL, Verdict.ERROR, Verdict.INFRA})
_WORDS = {
    Verdict.INFRA: ("infra", "I", "INFRA"),
    Verdict.NEW: ("new", "N", "NEW"),
    Verdict.XPASS: ("failed", "X", "XPASS"),
}


class BoardRun:
    """The plugin that is in force when pytest runs on a board."""

    def __init__(self, config: pytest.Config, job: Job) -> None:
        """Run on the board of ``job``."""
        self.job = job
        self._config = config
        self._verdicts: Counter[Verdict] = Counter()
        self._planned = 0
        self._unknown: list[str] = []
        self._late = False
        self._suite = ""
        self._looked = time.monotonic()
        self._overdue = Overdue(job, self._fails_after_all)

    def board(self, item: pytest.Item) -> Board:
        """Return the board for one test, booted.

        Raises:
            InfraError: it cannot be had.
        """
        session = self.job.session()
        return Board(self.job.settings, session, item.stash[RECORD], self.job.boots)

    def programs(self, item: pytest.Item) -> Programs:
        """Return what runs programs of somebody else's on the board."""
        return Programs(self.job, item.stash[RECORD])

    def cell(self, item: pytest.Item) -> Cell:
        """Return the matrix cell of one test."""
        return Cell(item.stash[RECORD])

    def stress(self, item: pytest.Item) -> Stress:
        """Return what a stress case is told, and note that the test has a seed."""
        item.stash[RECORD].seeded = True
        settings = self.job.settings
        return Stress(settings.seed, settings.effort.stress_s)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Spread tests over the declared devices."""
        parametrise(metafunc, self.job.settings)

    def rounds(self, usual: int) -> int:
        """Return how often to repeat what is timed."""
        return timed_rounds(usual, self.job.settings.effort.stress_s)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep what ``--farm-select`` lists, in its order, and of it the part of this job."""
        wanted = self.job.settings.selected
        kept = items[:]
        if wanted is not None:
            rank = {nodeid: number for number, nodeid in enumerate(parents(wanted))}
            self._unknown = sorted(rank.keys() - {nodeid_of(item) for item in items})
            kept = [item for item in items if nodeid_of(item) in rank]
            kept.sort(key=lambda item: rank[nodeid_of(item)])
        number, parts = self.job.settings.shard
        keep(config, items, kept[number::parts])
        skip_undeclared(items, self.job.settings)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write down the plan, before anything runs."""
        self._planned = len(session.items)
        if session.config.option.collectonly or not session.items:
            return
        try:
            self.job.begin([key_of(item) for item in session.items])
        except InfraError as error:
            step = f"\n{error.next_step}" if error.next_step else ""
            pytest.exit(f"{error}{step}", returncode=EXIT_GAPS)
        except FarmError as error:
            raise usage_error(error) from error

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> object | None:
        """Run one test, twice if its board was lost the first time; none once time is up."""
        until = self.job.settings.until
        if until is not None and time.time() >= until:
            self._late = True
            item.session.shouldstop = TIME_BOX
            return True
        ihook = item.ihook
        ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        hung = False
        self._look_for_leaks(key_of(item).suite)
        self._overdue.settle(nodeid_of(item))
        before = self.job.attempts(nodeid_of(item))
        for attempt in range(before + 1, before + ATTEMPTS + 1):
            reports, ruling = self._attempt(item, nextitem, attempt, hung)
            if not ruling.again or attempt == before + ATTEMPTS or self.job.gone:
                break
            hung = ruling.hung
            self.job.discard_session()
            for report in reports:
                if report.failed:
                    report.outcome = "rerun"  # type: ignore[assignment]
                    ihook.pytest_runtest_logreport(report=report)
        self._overdue.ended(nodeid_of(item), attempt, ruling.verdict)
        within = item.stash[RECORD].subcases
        self._planned += len(within)
        self._verdicts.update([ruling.verdict, *(one.verdict for one in within)])
        for report in (*reports, *reports_of(item, within)):
            ihook.pytest_runtest_logreport(report=report)
        ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self.job.gone:
            item.session.shouldstop = self.job.gone
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep each phase's report and error; no ``xfail`` hides a lost board or a complaint."""
        report = yield
        phase = Phase(report, call.excinfo.value if call.excinfo else None)
        if overrules_xfail(phase) and call.excinfo is not None:
            del report.wasxfail
            report.outcome = "failed"
            report.longrepr = item.repr_failure(call.excinfo)
        item.stash[RECORD].phases.append(phase)
        return report

    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        """Show INFRA, NEW and repeated attempts as what they are."""
        if str(report.outcome) == "rerun":
            return "rerun", "R", "RERUN"
        verdict = getattr(report, "farm_verdict", None)
        return _WORDS.get(verdict) if verdict is not None and report.failed else None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Switch the board off, end the journal, and settle the exit code."""
        if not self.job.begun:
            return
        unfinished = self._planned - self._verdicts.total()
        interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        if self._late or not interrupted:  # who was told to stop does so
            self._look_for_leaks("")
        self._overdue.settle("")
        why = self.job.gone or (TIME_BOX if self._late else "")
        self.job.end(why or (f"{unfinished} tests never ran" if unfinished else ""))
        stopped = interrupted and not why
        if self._late and self.job.settings.journal is not None:
            session.exitstatus = LATE
        elif not stopped and session.exitstatus in (0, 1, 2):
            session.exitstatus = self._exit_code(unfinished)

    def pytest_unconfigure(self) -> None:
        """Let go of the journal also where the session could not finish."""
        self.job.let_go()

    def pytest_report_header(self) -> list[str]:
        """Say which board the tests are collected for."""
        settings = self.job.settings
        return [f"board type: {settings.board_type.name}, image {settings.profile.name}"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the results are."""
        for nodeid in self._unknown:
            terminalreporter.write_line(f"not collected any more: {nodeid}")
        if self._verdicts:
            terminalreporter.write_sep("=", "farm")
            for verdict, count in sorted(self._verdicts.items()):
                terminalreporter.write_line(f"{verdict:6} {count}")
            for blame in self._overdue.blamed:
                terminalreporter.write_line(f"FAIL after all: {blame.nodeid}: {blame.reason}")
            terminalreporter.write_line(f"journal: {self.job.journal_path}")
            console = self.job.settings.out / "console.log"
            if console.is_file():
                terminalreporter.write_line(f"console: {console}")
            terminalreporter.write_line(f"seed: {self.job.settings.seed}")

    def _attempt(
        self, item: pytest.Item, nextitem: pytest.Item | None, attempt: int, hung: bool
    ) -> tuple[list[pytest.TestReport], Ruling]:
        """Run every replicate, and return what the worst of them came to.

        Replicates end with the board, and with a skip: it would only be repeated. Another attempt
        would hide that one of them has failed.
        """
        done: list[tuple[list[pytest.TestReport], Ruling]] = []
        for replicate in range(self.job.settings.effort.repeat):
            done.append(self._replicate(item, nextitem, attempt, replicate, hung))
            last = done[-1][1]
            if last.again or last.verdict is Verdict.SKIP or self.job.gone:
                break
        verdict = worst(ruling.verdict for _, ruling in done)
        reports, ruling = next(one for one in done if one[1].verdict is verdict)
        again = last.again and not ruling.verdict.is_failure
        return reports, replace(ruling, again=again, hung=last.hung)

    def _replicate(
        self,
        item: pytest.Item,
        nextitem: pytest.Item | None,
        attempt: int,
        replicate: int,
        hung: bool,
    ) -> tuple[list[pytest.TestReport], Ruling]:
        key = key_of(item)
        self.job.write(events.CaseStarted(nodeid=key.nodeid, attempt=attempt, replicate=replicate))
        self.job.running = key.nodeid
        record = Record()
        item.stash[RECORD] = record
        began, booting = time.monotonic(), self.job.booting_s
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        duration = time.monotonic() - began - (self.job.booting_s - booting)
        ruling = judge(record.phases, hung_before=hung)
        if record.too_many and ruling.verdict is Verdict.PASS:
            ruling = Ruling(Verdict.ERROR, f"the test has more than {MAX_SAMPLES} samples")
        complaint = overruled_by(ruling, self.job.write_complaints(key.nodeid))
        if complaint is not None:
            excerpt = self.job.excerpt(complaint)
            ruling = blame_kernel(ruling, record.phases, complaint, excerpt)
        for phase in record.phases:
            phase.report.farm_verdict = ruling.verdict  # type: ignore[attr-defined]
        console = list(ruling.console)
        if not console and ruling.verdict in _EXPLAINED:
            console = self.job.console_tail(CONSOLE_LINES)
        for event in events_of(key, attempt, replicate, record.subcases):
            self.job.write(event)  # before the test's own end: what has ended is not run again
        self.job.write(
            events.CaseFinished(
                nodeid=key.nodeid,
                attempt=attempt,
                replicate=replicate,
                verdict=ruling.verdict,
                reason=ruling.reason or record.from_cache() or record.note,
                duration_s=max(0.0, duration),
                case_hash=record.case_hash(key.case),
                samples=record.samples(),
                absent=record.absent(),
                console=console,
                cell=record.cell,
                observed=dict(ruling.observed),
                cached=bool(record.from_cache()),
                seeded=record.seeded,
                decisions=record.decisions(),
            )
        )
        return reports, ruling

    def _look_for_leaks(self, suite: str) -> None:
        """Look for lost memory after the last test, and after a suite if that is long ago."""
        if self._suite and not suite:
            self._overdue.settle_memory("looked for after the last test")
        elif self._suite != suite and time.monotonic() - self._looked > LOOK_AGAIN_S:
            self._overdue.settle_memory(f"looked for after suite {self._suite}")
            self._looked = time.monotonic()
        self._suite = suite

    def _fails_after_all(self, verdict: Verdict) -> None:
        self._verdicts[verdict] -= 1
        self._verdicts += Counter({Verdict.FAIL: 1})  # which drops what is down to none

    def _exit_code(self, unfinished: int) -> int:
        if any(verdict.is_failure for verdict in self._verdicts):
            return EXIT_FAILED
        gaps = unfinished or any(verdict.is_gap for verdict in self._verdicts)
        if gaps and self.job.settings.journal is not None:
            return EXIT_FAILED  # whoever began the journal reads the gaps from it
        return EXIT_GAPS if gaps else 0
