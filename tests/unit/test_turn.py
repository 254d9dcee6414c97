"""Whose turn it is: the order in which labgrid serves who waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.lab.turn import AGEING_S, SHARE, Rival, arrival, labgrid_priority

NOW = 1_800_000_000.0

times = st.floats(NOW - 1e6, NOW + 1e6)
priorities = st.floats(-100, 100)
rivals = st.lists(st.builds(Rival, times, st.integers(-5, 5).map(float)), max_size=6)


def test_the_earlier_the_sooner_and_priority_is_worth_some_waiting() -> None:
    assert arrival(NOW, 0) < arrival(NOW + 1, 0)
    assert arrival(NOW + AGEING_S - 1, 1) < arrival(NOW, 0) < arrival(NOW + AGEING_S + 1, 1)


def test_boards_that_an_owner_holds_put_the_owners_next_jobs_back() -> None:
    assert arrival(NOW, 0, held=0) < arrival(NOW - 1, 0, held=1)
    assert arrival(NOW, SHARE, held=1) == arrival(NOW, 0, held=0)


def test_who_reserved_by_hand_before_us_is_served_before_us_and_later_ones_are_not() -> None:
    before, after = Rival(NOW - 1, 0.0), Rival(NOW + 1, 0.0)
    assert labgrid_priority(NOW, []) > 0
    assert labgrid_priority(NOW, [after]) > after.priority
    assert labgrid_priority(NOW, [before]) < before.priority
    high = Rival(NOW + 1, 7.0)
    assert labgrid_priority(NOW, [high]) < high.priority
    assert labgrid_priority(NOW - 8 * AGEING_S, [high]) > high.priority


@given(times, rivals)
def test_nobody_is_overtaken_who_comes_before_us(own: float, others: list[Rival]) -> None:
    mine = labgrid_priority(own, others)
    before = [one for one in others if one.arrival <= own]
    for one in before:
        assert mine < one.priority
    if not before:
        assert all(mine > one.priority for one in others)


@given(times, times, rivals)
def test_the_order_among_us_is_that_of_arrival(a: float, b: float, others: list[Rival]) -> None:
    first, second = labgrid_priority(a, others), labgrid_priority(b, others)
    if a <= b:
        assert first >= second
    if b - a > 0.01:
        assert first > second


@given(times, priorities, st.integers(0, 50), priorities, st.integers(0, 50))
def test_who_comes_late_enough_is_behind_whatever_their_priority(
    arrived: float, priority: float, held: int, their_priority: float, their_held: int
) -> None:
    late = AGEING_S * (their_priority - priority + SHARE * held) + 1
    mine = arrival(arrived, priority, held)
    assert mine < arrival(arrived + max(late, 0.0), their_priority, their_held)
