"""How long boots took, in numbers and bars."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.boots import bars, describe_boots


def test_a_few_numbers() -> None:
    assert describe_boots([5, 1, 4, 2, 3]) == {"min": 1, "median": 3, "p90": 5, "max": 5}
    assert describe_boots(list(range(1, 101)))["p90"] == 90
    assert describe_boots([]) == {}


def test_bars_of_two_groups() -> None:
    lines = bars([10.0] * 4 + [20.0])
    assert len(lines) == 10
    assert lines[0] == "   10.0 to  11.0 s      4  " + "#" * 40
    assert lines[-1] == "   19.0 to  20.0 s      1  " + "#" * 10
    assert bars([]) == []
    assert len(bars([7.0])) == 1


@given(st.lists(st.floats(0.01, 3600), min_size=1, max_size=200))
def test_every_boot_is_in_one_bar(seconds: list[float]) -> None:
    lines = bars(seconds)
    assert 1 <= len(lines) <= 10
    assert sum(int(line.split(" s ")[1].split()[0]) for line in lines) == len(seconds)
    found = describe_boots(seconds)
    assert list(found.values()) == sorted(found.values())
