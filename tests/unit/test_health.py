"""Health of boards: when a board is quarantined, tried again and re-admitted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from farm.inventory import HealthRule
from farm.lab import health
from farm.lab.health import Health, HealthBook

HOUR = 3600.0
NOW = 1_800_000_000.0
RULE = HealthRule(every_h=24, failures=3, retry_h=1)


def failing(times: int, rule: HealthRule = RULE) -> Health:
    found = Health(place="board-1")
    for number in range(times):
        found = health.after_failure(found, f"reason {number}", rule, NOW + number)
    return found


def test_failures_in_a_row_quarantine_with_the_last_reason() -> None:
    assert not failing(2).quarantined
    found = failing(3)
    assert (found.quarantined, found.retry) == (NOW + 2, NOW + 2 + HOUR)
    said = str(found)
    assert said.startswith("quarantined since 20") and "; next try 20" in said
    assert ": 3 failures in a row, the last: reason 2; " in said


def test_it_is_tried_again_after_longer_and_longer_times() -> None:
    waits = [(failing(times).retry - (NOW + times - 1)) / HOUR for times in range(3, 11)]
    assert waits == [1, 2, 4, 8, 16, 24, 24, 24]
    seldom = HealthRule(every_h=1, failures=1, retry_h=6)
    assert failing(5, seldom).retry - (NOW + 4) == 6 * HOUR


def test_a_pass_re_admits_and_counts_anew() -> None:
    found = health.after_pass(failing(5), NOW + 100)
    assert found == Health(place="board-1", checked=NOW + 100)
    assert health.after_pass(failing(2), NOW + 100).failures == 0


def test_what_a_person_took_out_only_a_person_gives_back() -> None:
    mine = health.by_hand(failing(1), "on my desk", NOW)
    assert "by hand: on my desk" in str(mine)
    assert health.after_pass(mine, NOW + 1).quarantined
    assert health.after_failure(mine, "other", RULE, NOW + 1).reason == "on my desk"
    assert not health.due(mine, RULE, NOW + 1000 * HOUR)


@pytest.mark.parametrize(
    ("found", "at", "expected"),
    [
        (Health(place="b"), NOW, True),  # never looked at
        (Health(place="b", checked=NOW), NOW + 23 * HOUR, False),
        (Health(place="b", checked=NOW), NOW + 24 * HOUR, True),
        (Health(place="b", checked=NOW), NOW - 1, True),  # the clock was put back
        (failing(3), NOW + HOUR, False),
        (failing(3), NOW + 2 + HOUR, True),
        (failing(3), NOW - HOUR, True),
    ],
)
def test_when_a_check_is_due(found: Health, at: float, expected: bool) -> None:
    assert health.due(found, RULE, at) is expected


@given(st.integers(1, 9), st.integers(0, 40), st.text(max_size=2000))
def test_quarantined_if_and_only_if_it_failed_often_enough(
    limit: int, times: int, reason: str
) -> None:
    rule = HealthRule(failures=limit)
    found = Health(place="b")
    for _ in range(times):
        found = health.after_failure(found, reason, rule, NOW)
    assert bool(found.quarantined) == (times >= limit)
    assert len(found.reason) <= health.MAX_REASON
    assert not found.quarantined or NOW < found.retry <= NOW + 24 * HOUR
    assert Health.model_validate_json(found.model_dump_json()) == found


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_the_book_outlives_its_process_and_keeps_labs_apart() -> None:
    clock = iter(range(1000)).__next__
    book = HealthBook("127.0.0.1:20408", clock=lambda: NOW + clock())
    name = "../a b/\N{SNOWMAN}"
    for _ in range(3):
        book.failed(name, "no SSH within 90 s of power-on", RULE)
    again = HealthBook("127.0.0.1:20408")
    assert "no SSH within 90 s" in (again.quarantined(name) or "")
    assert again.quarantined("board-2") is None
    assert HealthBook("lab:20408").quarantined(name) is None
    again.passed(name)
    assert book.quarantined(name) is None
    book.quarantine(name, "broken fan")
    assert "by hand: broken fan" in (again.quarantined(name) or "")
    again.readmit(name)
    assert book.quarantined(name) is None
    book.quarantine(name, "broken fan")
    book.forget()
    assert again.quarantined(name) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"place": 3}', b"\xff" * 100_000])
def test_a_damaged_file_keeps_no_board_from_anybody(content: bytes, state: Path) -> None:
    book = HealthBook("lab:1")
    book.quarantine("board-1", "x")
    (file,) = state.rglob("board-1.json")
    file.write_bytes(content)
    assert book.quarantined("board-1") is None
    assert book.failed("board-1", "y", RULE).failures == 1


class Life(RuleBasedStateMachine):
    """Whatever happens in whichever order, a board can be had unless there is a reason."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Health(place="b")
        self.now = NOW
        self.in_a_row = 0
        self.hand = False

    @rule(after=st.floats(0, 100 * HOUR))
    def fails(self, after: float) -> None:
        self.now += after
        self.found = health.after_failure(self.found, "bad", RULE, self.now)
        self.in_a_row += 1

    @rule(after=st.floats(0, 100 * HOUR))
    def passes(self, after: float) -> None:
        self.now += after
        self.found = health.after_pass(self.found, self.now)
        self.in_a_row = 0

    @rule()
    def is_taken_out(self) -> None:
        self.found = health.by_hand(self.found, "hand", self.now)
        self.hand = True

    @precondition(lambda self: self.hand)
    @rule()
    def is_given_back(self) -> None:
        self.found = Health(place="b", checked=self.found.checked)
        self.hand, self.in_a_row = False, 0

    @invariant()
    def is_out_for_a_reason_only(self) -> None:
        assert bool(self.found.quarantined) == (self.hand or self.in_a_row >= RULE.failures)

    @invariant()
    def is_tried_again_some_day(self) -> None:
        later = self.now + 25 * HOUR
        assert health.due(self.found, RULE, later) is not self.hand


TestLife = Life.TestCase


def test_since_when_boards_are_offline_is_kept_until_they_are_seen_online(state: Path) -> None:
    clock = iter(range(1000)).__next__
    book = HealthBook("lab:1", clock=lambda: NOW + clock())
    assert book.offline_since({"a": True, "b": False}) == {"b": NOW}
    again = HealthBook("lab:1", clock=lambda: NOW + 3600)
    assert again.offline_since({"a": False}) == {"a": NOW + 3600}
    assert again.offline_since({"a": True, "b": False}) == {"b": NOW}
    assert again.offline_since({"b": True}) == {}
    (file,) = state.rglob("offline")
    file.write_text("no times")
    assert again.offline_since({"b": False}) == {"b": NOW + 3600}
