"""Why places are to be had or not, in words."""

from __future__ import annotations

from datetime import datetime

import pytest

from farm.lab.explain import moment, span, standing, summary
from farm.lab.holding import LEASE_TAG, MAX_TEXT, OWNER_TAG, RUN_TAG, UNTIL_TAG, holding
from farm.lab.place import Place, Resource

NOON = datetime(2026, 11, 21, 12, 0).timestamp()
TEN_PAST_TWO = datetime(2026, 11, 21, 2, 10).timestamp()


def place(name: str, *, holder: str = "", online: bool = True, **tags: str) -> Place:
    resource = Resource("e", name, "NetworkService", "ssh", online, "", {})
    return Place(name, tags, frozenset(), holder, "", (resource,), ())


def leased(name: str, run: str = "812", until: float = 0.0, owner: str = "ann") -> Place:
    holder = f"host/farm-{name}"
    tags = {LEASE_TAG: holder, RUN_TAG: run, OWNER_TAG: owner}
    tags |= {UNTIL_TAG: str(int(until))} if until else {}
    return place(name, holder=holder, **tags)


def test_boards_that_match_are_summed_up_by_what_is_in_the_way() -> None:
    found = [
        standing(place("a", online=False), since=TEN_PAST_TWO),
        standing(leased("b", "812", NOON + 14 * 60)),
        standing(leased("c", "815", NOON + 50 * 60)),
        standing(place("d", holder="lab/alice")),
        standing(place("e", holder="lab/alice")),
        standing(place("f"), barred="quarantined since 11:00: 3 failures in a row"),
        standing(place("g")),
    ]
    assert summary(found, NOON) == (
        "7 boards match: 1 free, 1 offline since 02:10, "
        "1 quarantined since 11:00: 3 failures in a row, "
        "2 held (runs 812 and 815, about 14 min left), 2 held by lab/alice"
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "no board of this lab matches"),
        ([standing(place("a", online=False))], "1 board matches: 1 offline"),
        ([standing(leased("a"))], "1 board matches: 1 held (run 812)"),
        ([standing(leased("a", until=NOON - 9))], "1 board matches: 1 held (run 812, overdue)"),
        (
            [standing(place(name), barred="why") for name in "ab"],
            "2 boards match: 2 quarantined (a, b)",
        ),
    ],
)
def test_the_sum_where_less_is_known(found: list[object], said: str) -> None:
    assert summary(found, NOON) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (standing(place("a")), "free"),
        (standing(place("a", online=False), since=TEN_PAST_TWO), "offline since 02:10"),
        (standing(place("a"), barred="quarantined"), "quarantined"),
        (standing(place("a", holder="lab/bob")), "held by lab/bob"),
        (standing(leased("a", until=NOON + 3)), "held by run 812 of ann, about 3 s left"),
        (standing(leased("a", owner="")), "held by run 812"),
    ],
)
def test_one_board_is_told_of_in_a_few_words(one: object, said: str) -> None:
    assert one.words(NOON) == said  # type: ignore[attr-defined]


def test_times_are_told_as_exactly_as_they_are_known() -> None:
    assert moment(NOON, NOON) == "12:00"
    assert moment(NOON - 86400, NOON) == "2026-11-20 12:00"
    assert [span(seconds) for seconds in (0, 89, 91, 5000, 20000)] == [
        "1 s", "89 s", "2 min", "83 min", "5.6 h",
    ]  # fmt: skip


def test_what_tags_say_is_bounded_and_only_counts_for_the_lease_that_set_it() -> None:
    wild = leased("a", run="9" * 500)
    tags = {**wild.tags, UNTIL_TAG: "9" * 400}
    found = holding(Place("a", tags, frozenset(), wild.holder, "", (), ()))
    assert found is not None
    assert (len(found.run), found.until) == (MAX_TEXT, 0.0)
    assert holding(Place("a", tags, frozenset(), "lab/alice", "", (), ())) is None
