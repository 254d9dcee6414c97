"""Placement: what is taken, what is refused and how that is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import FarmError, LabError, UsageError
from farm.lab.holding import LEASE_TAG, RUN_TAG, UNTIL_TAG
from farm.lab.place import Place, Resource
from farm.lab.placement import Outlook, Request, choose, parse_match

NOW = 1_800_000_000.0
TYPES = ("virt-smmuv3", "virt-noiommu")


def place(
    name: str,
    kind: str = "virt-smmuv3",
    *,
    holder: str = "",
    reservation: str = "",
    online: bool = True,
    **tags: str,
) -> Place:
    resource = Resource("exporter", name, "NetworkService", "ssh", online, "", {})
    return Place(
        name=name,
        tags={"board_type": kind, **tags} if kind else tags,
        aliases=frozenset(),
        holder=holder,
        reservation=reservation,
        resources=(resource,),
        missing=(),
    )


def leased(name: str, left_s: float) -> Place:
    holder = f"host/farm-{name}"
    tags = {LEASE_TAG: holder, RUN_TAG: "run", UNTIL_TAG: str(int(NOW + left_s))}
    return place(name, holder=holder, **tags)


def names(places: list[Place]) -> list[str]:
    return [item.name for item in places]


def test_without_names_every_free_board_of_a_known_type_is_taken() -> None:
    lab = [
        place("b"),
        place("a"),
        place("held", holder="host/user"),
        place("off", online=False),
        place("other", "rk3588"),
        place("untagged", ""),
    ]
    assert names(choose(lab, TYPES, Request())) == ["a", "b"]


def test_a_type_takes_one_free_board_and_twice_takes_two() -> None:
    lab = [place("a", holder="h/u"), place("b"), place("c"), place("n", "virt-noiommu")]
    assert names(choose(lab, TYPES, Request(("virt-smmuv3",)))) == ["b"]
    assert names(choose(lab, TYPES, Request(("virt-smmuv3", "virt-smmuv3")))) == ["b", "c"]


def test_a_type_leaves_the_board_that_is_named_alone() -> None:
    lab = [place("a"), place("b")]
    assert names(choose(lab, TYPES, Request(("virt-smmuv3", "a")))) == ["b", "a"]


def test_a_name_twice_is_one_board() -> None:
    assert names(choose([place("a")], TYPES, Request(("a", "a")))) == ["a"]


def test_match_narrows_by_tags() -> None:
    lab = [place("a", room="1"), place("b", room="2")]
    assert names(choose(lab, TYPES, Request((), {"room": "2"}))) == ["b"]
    with pytest.raises(UsageError, match="board a does not match room=2"):
        choose(lab, TYPES, Request(("a",), {"room": "2"}))


def test_a_refusal_counts_who_is_in_the_way() -> None:
    lab = [
        place("a", online=False),
        place("b", holder="lab/alice"),
        place("c", holder="lab/alice"),
        place("d", reservation="TOKEN"),
    ]
    with pytest.raises(LabError) as caught:
        choose(lab, TYPES, Request(("virt-smmuv3",)))
    assert str(caught.value) == (
        "no free board for board type virt-smmuv3: 4 boards match: "
        "1 offline, 1 reserved, 2 held by lab/alice"
    )
    assert caught.value.next_step
    assert caught.value.exit_code == 3


def test_a_refusal_says_how_many_were_wanted() -> None:
    with pytest.raises(LabError, match="1 board matches: 1 free, 2 wanted"):
        choose([place("a")], TYPES, Request(("virt-smmuv3", "virt-smmuv3")))


def test_an_empty_lab_is_refused() -> None:
    with pytest.raises(LabError, match="no board of this lab matches"):
        choose([], TYPES, Request())


def test_who_may_wait_is_given_a_held_board_but_a_free_one_first() -> None:
    lab = [place("a", holder="h/u"), place("b")]
    assert names(choose(lab, TYPES, Request(("virt-smmuv3",), may_wait=True))) == ["b"]
    assert names(choose(lab, TYPES, Request(("a",), may_wait=True))) == ["a"]
    with pytest.raises(LabError, match="board a is offline") as caught:
        choose([place("a", online=False)], TYPES, Request(("a",), may_wait=True))
    assert "start the exporter of a" in caught.value.next_step


def test_who_may_wait_is_given_the_board_that_is_free_soonest() -> None:
    lab = [leased("a", 900), leased("b", 60), place("c", holder="lab/alice")]
    request = Request(("virt-smmuv3",), may_wait=True)
    assert names(choose(lab, TYPES, request, Outlook(now=NOW))) == ["b"]


def test_a_quarantined_board_is_not_taken_even_if_it_is_named() -> None:
    known = Outlook(barred={"a": "quarantined since noon: smells"})
    lab = [place("a"), place("b")]
    assert names(choose(lab, TYPES, Request(), known)) == ["b"]
    assert names(choose(lab, TYPES, Request(("virt-smmuv3",)), known)) == ["b"]
    with pytest.raises(LabError, match="board a is quarantined since noon: smells") as caught:
        choose(lab, TYPES, Request(("a",), may_wait=True), known)
    assert "farm board check a" in caught.value.next_step


def test_features_narrow_and_what_no_board_can_ever_have_is_a_usage_error() -> None:
    known = Outlook(offers={"a": frozenset({"gpu"}), "b": frozenset({"gpu", "codec"})})
    lab = [place("a"), place("b", holder="h/u")]
    assert names(choose(lab, TYPES, Request(features=("gpu",)), known)) == ["a"]
    with pytest.raises(LabError, match="virt-smmuv3, feature codec: 1 board matches: 1 held"):
        choose(lab, TYPES, Request(("virt-smmuv3",), features=("codec",)), known)
    with pytest.raises(UsageError, match="board a lacks codec"):
        choose(lab, TYPES, Request(("a",), features=("codec",)), known)
    with pytest.raises(
        UsageError,
        match="no board for board type virt-smmuv3, feature npu: board a lacks npu, board b lacks",
    ):
        choose(lab, TYPES, Request(("virt-smmuv3",), features=("npu",)), known)
    with pytest.raises(UsageError, match="no board for a known board type, room=3: "):
        choose(lab, TYPES, Request((), {"room": "3"}), known)


def test_an_image_narrows_and_a_lab_without_it_is_told_how_to_get_it() -> None:
    lab = [place("a", image="debian-12"), place("b", image="debian-13")]
    assert names(choose(lab, TYPES, Request(("virt-smmuv3",), image="debian-13"))) == ["b"]
    with pytest.raises(UsageError, match="board a boots image debian-12, not debian-13") as caught:
        choose(lab[:1], TYPES, Request(("virt-smmuv3",), image="debian-13"))
    assert caught.value.next_step.endswith("farm lab up --image debian-13")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'virt-smmuv3'\?"):
        choose([place("a")], TYPES, Request(("virt-smmu3",)))


def test_a_place_of_no_known_type_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="is tagged board_type=rk3588"):
        choose([place("a", "rk3588")], TYPES, Request(("a",)))
    with pytest.raises(UsageError, match="has no tag board_type"):
        choose([place("a", "")], TYPES, Request(("a",)))


def test_match_words_are_parsed_strictly() -> None:
    assert parse_match(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    for words in (["a"], ["=1"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            parse_match(words)


places = st.lists(
    st.builds(
        place,
        st.sampled_from([f"p{number}" for number in range(8)]),
        st.sampled_from([*TYPES, "rk3588", ""]),
        holder=st.sampled_from(["", "host/user"]),
        reservation=st.sampled_from(["", "TOKEN"]),
        online=st.booleans(),
        room=st.sampled_from(["1", "2"]),
    ),
    max_size=8,
    unique_by=lambda item: item.name,
)
requests = st.builds(
    Request,
    st.lists(st.sampled_from([*TYPES, *(f"p{number}" for number in range(8))]), max_size=6).map(
        tuple
    ),
    st.sampled_from([{}, {"room": "1"}]),
    may_wait=st.booleans(),
    features=st.sampled_from([(), ("gpu",)]),
)
outlooks = st.builds(
    lambda sick, able: Outlook(
        barred=dict.fromkeys(sick, "sick"), offers=dict.fromkeys(able, frozenset({"gpu"})), now=NOW
    ),
    st.sets(st.sampled_from([f"p{number}" for number in range(8)])),
    st.sets(st.sampled_from([f"p{number}" for number in range(8)])),
)


@given(places, requests, outlooks)
def test_no_board_is_taken_twice_and_none_that_is_not_to_be_had(
    lab: list[Place], request: Request, known: Outlook
) -> None:
    try:
        chosen = choose(lab, TYPES, request, known)
    except FarmError as error:
        assert error.message
        assert error.exit_code in (2, 3)
        return
    assert chosen
    assert len(names(chosen)) == len(set(names(chosen)))
    for item in chosen:
        assert item.online
        assert item.free or request.may_wait
        assert item.name not in known.barred
        assert set(request.features) <= known.offers.get(item.name, frozenset())
        assert item.tags["board_type"] in TYPES
        assert all(item.tags[key] == value for key, value in request.match.items())
    for word in set(request.boards):
        kinds = [item.tags["board_type"] for item in chosen]
        assert word in names(chosen) or kinds.count(word) >= request.boards.count(word)
