"""What a job's journal says so far: the state that progress shows and results count.

A view is a fold over events; it does no I/O but following the journal as it grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from farm import events
from farm.errors import JournalError
from farm.model import WITHIN, Verdict, amount, tally
from farm.run.tail import Tail

ATTEMPTS = 2
"""Attempts of a test whose board was lost."""


@dataclass(slots=True)
class Finding:
    """What became of a test, or of one replicate of it.

    ``seeded`` says that it took its decisions by the job's seed.
    """

    nodeid: str
    verdict: Verdict
    reason: str
    seeded: bool = False


@dataclass(slots=True)
class JobView:
    """One job as far as its journal tells; times are seconds.

    ``spent`` is how long the job was in each state, ``boot_s`` how long the last boot took,
    ``overheads`` how much longer each test took than its payload cases did, for one of them; a test
    that has others within ran programs, too, and has none.
    ``placed`` is which board the job got, where several would have done.
    ``last`` holds what each test's last attempt amounts to, over its replicates so far; ``told``
    has every replicate of every attempt in the order in which they ended. ``attempts`` is the
    number of each test's last attempt, ``boots`` that of the last boot, ``resumed`` how often the
    job was gone on with; ``orphaned`` where it ended because its controller had died, ``lost``
    where board, lab or worker was lost.
    """

    board: str
    state: str = "starting"
    detail: str = ""
    planned: tuple[str, ...] = ()
    placed: events.Placed | None = None
    current: str = ""
    kernel: str = ""
    last: dict[str, Finding] = field(default_factory=dict)
    told: list[Finding] = field(default_factory=list)
    complaint: str = ""
    boot_s: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    orphaned: bool = False
    lost: bool = False
    resumed: int = 0
    boots: int = 0
    ok: bool = False
    reason: str = ""
    began: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    first_reasons: list[str] = field(default_factory=list)
    seen_t: float = 0.0
    overheads: list[float] = field(default_factory=list)
    _replicates: dict[str, list[tuple[Verdict, str]]] = field(default_factory=dict)
    _outer: set[str] = field(default_factory=set)

    def add(self, event: events.Event) -> None:
        """Take one event into account."""
        if self.seen_t and not isinstance(event, events.JobResumed):
            passed = max(0.0, event.t - self.seen_t)
            self.spent[self.state] = self.spent.get(self.state, 0.0) + passed
        self.seen_t = event.t
        match event:
            case events.Plan():
                found = (key.nodeid for key in event.tests)
                self.planned = tuple(dict.fromkeys([*self.planned, *found]))
            case events.StateChanged():
                self.state, self.detail = event.state, event.detail
            case events.Placed():
                self.board, self.placed = event.board, event
            case events.BoardReady():
                self.kernel = event.kernel
                self.boot_s = event.boot_s
                self.boots = event.boot
            case events.CaseStarted():
                self.current = event.nodeid
                self.began[event.nodeid] = self.attempts[event.nodeid] = event.attempt
                again = (event.attempt, event.replicate) == (2, 0) and WITHIN not in event.nodeid
                if again and event.nodeid in self.last:
                    self.first_reasons.append(self.last[event.nodeid].reason)
            case events.CaseFinished():
                self.current = "" if self.current == event.nodeid else self.current
                self._finished(event)
                if self.began.get(event.nodeid) == event.attempt:
                    del self.began[event.nodeid]
            case events.CaseBlamed():
                blamed = Finding(event.nodeid, Verdict.FAIL, event.reason)
                self.last[event.nodeid] = blamed
                self.told.append(blamed)
            case events.Complaint():
                self.complaint = event.line
            case events.JobFinished():
                self.finished, self.ok, self.reason = True, event.ok, event.reason
                self.orphaned, self.lost = event.orphaned, event.lost
            case events.JobResumed():
                self.finished = self.ok = self.orphaned = self.lost = False
                self.reason = ""
                self.resumed += 1
            case _:
                pass

    def _finished(self, event: events.CaseFinished) -> None:
        own = [one.value for one in event.samples if _is_of_a_whole_case(one)]
        outer, within, _ = event.nodeid.partition(WITHIN)
        if within:
            self._outer.add(outer)
        if own and not event.cached and outer not in self._outer:
            self.overheads.append(max(0.0, event.duration_s - sum(own) / 1e9) / len(own))
        of = f" (replicate {event.replicate + 1})" if event.replicate else ""
        one = Finding(event.nodeid, event.verdict, event.reason, event.seeded)
        self.told.append(replace(one, reason=f"{event.reason}{of}"))
        replicates = self._replicates.setdefault(event.nodeid, [])
        if event.replicate == 0:
            replicates.clear()
        replicates.append((event.verdict, event.reason))
        verdict, reason = amount(replicates)
        self.last[event.nodeid] = replace(one, verdict=verdict, reason=reason)

    def close(self, reason: str) -> None:
        """Note that the worker is gone; ``reason`` counts if the journal gives none."""
        if not self.finished:
            self.ok = False
            self.lost = True
            self.reason = self.reason or reason
        self.current = ""

    @property
    def over(self) -> bool:
        """Whether the job ended by itself: nothing is to be done but to keep its results."""
        return self.finished and not self.orphaned

    def left(self, repeat: int) -> list[str]:
        """Return the planned tests that have no final verdict yet, with ``repeat`` replicates each.

        What a program told of its tests comes with the test that runs the program.
        """
        return [
            name for name in self.planned if WITHIN not in name and not self._settled(name, repeat)
        ]

    def _settled(self, nodeid: str, repeat: int) -> bool:
        done = self._replicates.get(nodeid)
        if nodeid in self.began or not done:
            return False
        verdict, _ = done[-1]
        if verdict is Verdict.INFRA:
            return self.attempts.get(nodeid, 1) >= ATTEMPTS
        return verdict is Verdict.SKIP or len(done) >= repeat

    @property
    def done(self) -> int:
        """How many tests have a verdict."""
        return len(self.last)

    def time_in(self, *states: str) -> float:
        """Return how long the job was in any of these states, in seconds."""
        return sum(self.spent.get(state, 0.0) for state in states)

    def counts(self) -> dict[Verdict, int]:
        """Return how many tests have each verdict so far, by their last attempts."""
        return tally(finding.verdict for finding in self.last.values())

    def final_counts(self) -> dict[Verdict, int]:
        """Return how many tests of a job that is over have each verdict."""
        return tally(self.final_verdicts().values())

    def final_verdicts(self) -> dict[str, Verdict]:
        """Return the verdicts of a job that is over: cut short is INFRA, not reached is MISS."""
        return {
            **dict.fromkeys(self.planned, Verdict.MISS),
            **{nodeid: finding.verdict for nodeid, finding in self.last.items()},
            **dict.fromkeys(self.began, Verdict.INFRA),
        }


def _is_of_a_whole_case(sample: events.SampleEvent) -> bool:
    return sample.metric == "wall" and sample.params.get("phase") == "case"


class Follower:
    """Reads a journal as it grows; a line that cannot be read is left out."""

    def __init__(self, path: Path) -> None:
        """Follow the journal at ``path``, which need not exist yet."""
        self._path = path
        self._tail = Tail(path)
        self._number = 0
        self.damage = events.Damage()
        """What could not be read."""

    def news(self) -> list[events.Event]:
        """Return the events that were written since the last call."""
        found: list[events.Event] = []
        for line in self._tail.lines():
            self._number += 1
            try:
                found.append(events.decode(line, where=f"{self._path}:{self._number}"))
            except JournalError as error:
                self.damage.add(error)
        return found
