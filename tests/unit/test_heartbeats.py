"""Heartbeats: a living keeper's lease is never ended, whatever the clocks say; a dead one's is."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from farm.lab.holding import BEAT_TAG, LEASE_TAG
from farm.lab.lease import BEAT_S, new_identity
from farm.lab.place import Place
from farm.lab.reconcile import QUIET_S, STALE_S, Heartbeats

IDENTITY = new_identity("elsewhere")
NOW = 1_800_000_000.0


def held(beat: float, holder: str = IDENTITY, tagged: str = IDENTITY) -> dict[str, Place]:
    tags = {LEASE_TAG: tagged, BEAT_TAG: str(int(beat))}
    place = Place("a", tags, frozenset(), holder=holder, reservation="", resources=(), missing=())
    return {"a": place}


@dataclass
class Watch:
    """Heartbeats on clocks that a test turns; ``ahead`` is how far ours is ahead of the others."""

    ahead: float = 0.0
    now: float = NOW
    beats: Heartbeats = field(init=False)

    def __post_init__(self) -> None:
        self.beats = Heartbeats(clock=lambda: self.now, now=lambda: self.now + self.ahead)

    def stopped(self, places: dict[str, Place]) -> list[str]:
        return [place.name for place in self.beats.stopped(places)]


def test_an_old_heartbeat_is_watched_before_its_lease_is_ended() -> None:
    watch = Watch()
    places = held(NOW - STALE_S - 1)
    assert watch.stopped(places) == []
    assert [place.name for place in watch.beats.doubtful] == ["a"]
    watch.now += QUIET_S - 1
    assert watch.stopped(places) == []
    watch.now += 1
    assert watch.stopped(places) == ["a"]
    assert watch.beats.doubtful == []


def test_a_heartbeat_from_a_clock_that_is_ahead_is_ended_when_it_has_not_changed() -> None:
    watch = Watch(ahead=-7200)
    places = held(NOW)
    for _ in range(int(STALE_S)):
        assert watch.stopped(places) == []
        assert watch.beats.doubtful == []
        watch.now += 1
    watch.now += 1
    assert watch.stopped(places) == ["a"]


def test_a_lease_whose_keeper_died_before_its_first_beat_is_ended_when_none_comes() -> None:
    watch = Watch(ahead=10 * STALE_S)
    places = held(NOW, tagged="")
    assert watch.stopped(places) == [] == watch.beats.doubtful
    watch.now += STALE_S
    assert watch.stopped(places) == []
    watch.now += 1
    assert watch.stopped(held(NOW, holder=new_identity("x"), tagged="")) == [], "another holder"
    watch.now += STALE_S + 1
    assert watch.stopped(places) == [], "seen anew"
    watch.now += STALE_S + 1
    assert watch.stopped(places) == ["a"]


def test_people_and_what_a_lease_has_left_are_no_business_of_ours() -> None:
    for holder in ("host/alice", "host/farm-alice", ""):
        places = held(1, holder=holder, tagged=holder)
        watch = Watch()
        assert watch.stopped(places) == []
        watch.now += 2 * STALE_S
        assert watch.stopped(places) == []


def test_another_lease_on_the_same_place_is_watched_from_its_own_beginning() -> None:
    watch = Watch(ahead=10 * STALE_S)
    assert watch.stopped(held(NOW)) == []
    watch.now += QUIET_S - 1
    assert watch.stopped(held(NOW + 30)) == []
    watch.now += QUIET_S - 1
    assert watch.stopped(held(NOW + 30)) == []


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0.1, BEAT_S), max_size=60))
def test_a_living_keepers_lease_is_never_ended(ahead: float, pauses: list[float]) -> None:
    """Looks at any times, between them beats every ``BEAT_S`` at the latest, any clock."""
    watch = Watch(ahead=ahead)
    for number, pause in enumerate(pauses):
        assert watch.stopped(held(NOW + number)) == []
        watch.now += pause
