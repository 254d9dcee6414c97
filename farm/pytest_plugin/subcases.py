"""Tests within a test: a program of somebody else's tells of many, each a case with its verdict.

What they are called is known when the program has run, so they are planned by a second ``plan``
event, before their test's end. Their node id is the test's, ``@``, and their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from farm import events
from farm.events import Key
from farm.model import WITHIN, TestKey, Verdict

_OUTCOMES = {
    Verdict.PASS: "passed",
    Verdict.SKIP: "skipped",
    Verdict.XFAIL: "skipped",
    Verdict.MISS: "skipped",
}


@dataclass(frozen=True, slots=True)
class SubCase:
    """One of a program's tests; ``hash`` tells builds of the program apart."""

    name: str
    verdict: Verdict
    reason: str = ""
    duration_s: float = 0.0
    hash: str = ""


def parents(nodeids: Iterable[str]) -> tuple[str, ...]:
    """Return the node ids with each subcase's replaced by that of its test, each once, in order."""
    return tuple(dict.fromkeys(nodeid.partition(WITHIN)[0] for nodeid in nodeids))


def events_of(
    key: TestKey, attempt: int, replicate: int, found: list[SubCase]
) -> Iterator[events.Event]:
    """Yield what the journal is told of the subcases of one replicate of a test."""
    if not found:
        return
    yield events.Plan(tests=[_key(key, one) for one in found])
    for one in found:
        nodeid = _nodeid(key, one)
        yield events.CaseStarted(nodeid=nodeid, attempt=attempt, replicate=replicate)
        yield events.CaseFinished(
            nodeid=nodeid,
            attempt=attempt,
            replicate=replicate,
            verdict=one.verdict,
            reason=one.reason,
            duration_s=one.duration_s,
            case_hash=one.hash,
        )


def reports_of(item: pytest.Item, found: list[SubCase]) -> Iterator[pytest.TestReport]:
    """Yield what pytest is told of them."""
    for one in found:
        outcome = _OUTCOMES.get(one.verdict, "failed")
        longrepr: object = one.reason or None
        if outcome == "skipped":
            longrepr = (str(item.path), item.location[1] or 0, f"{one.verdict}: {one.reason}")
        report = pytest.TestReport(
            nodeid=f"{item.nodeid}{WITHIN}{one.name}",
            location=item.location,
            keywords={},
            outcome=outcome,  # type: ignore[arg-type]
            longrepr=longrepr,  # type: ignore[arg-type]
            when="call",
            duration=one.duration_s,
        )
        if one.verdict is Verdict.XFAIL:
            report.wasxfail = one.reason
        report.farm_verdict = one.verdict  # type: ignore[attr-defined]
        yield report


def _nodeid(key: TestKey, one: SubCase) -> str:
    return f"{key.nodeid}{WITHIN}{one.name}"


def _key(key: TestKey, one: SubCase) -> Key:
    return Key(
        nodeid=_nodeid(key, one),
        suite=key.suite,
        test=key.test,
        params={**key.params, "within": one.name},
        requirements=list(key.requirements),
    )
