"""Waiting for one of several places, served by labgrid's own scheduler."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)
from labgrid_queue import ANY, Job, lab_with, tokens

from farm.errors import LabError
from farm.lab.turn import AGEING_S, arrival
from farm.lab.waiting import RANK_S
from farm.lab.wanted import Wanted


def test_a_free_place_is_had_at_once_with_one_reservation() -> None:
    lab = lab_with("a", "b")
    job = Job(lab, "job", Wanted(board_type="sample", prefer="b"))
    assert job.step()
    assert (lab.holder("b"), lab.holder("a")) == (job.client.identity, "")
    assert tokens(lab, job.client.identity) == 1


def test_who_waits_for_any_takes_the_first_that_comes_and_waits_for_no_other() -> None:
    lab = lab_with("a", "b", "c")
    alice = lab.client("host/alice")
    for name in "abc":
        alice.acquire(name)
    job = Job(lab, "job")
    assert not job.step()
    assert tokens(lab, job.client.identity) == 3
    alice.release("b")
    assert lab.coordinator.places["b"].reservation
    assert job.step()
    assert lab.holder("b") == job.client.identity
    assert tokens(lab, job.client.identity) == 1


def test_places_that_come_and_go_are_followed() -> None:
    lab = lab_with("a")
    lab.offline.add("a")
    job = Job(lab, "job", barred={"b"})
    lab.add("b", board_type="sample")
    lab.add("x", board_type="other")
    assert not job.step()
    assert not lab.coordinator.reservations
    job.barred.clear()
    lab.client("host/alice").acquire("b")
    assert not job.step()
    assert [one.filters for one in job.client.reservations()] == [{"name": "b"}]
    job.barred.add("b")
    assert not job.step()
    assert not lab.coordinator.reservations
    lab.offline.clear()
    assert job.step()
    assert job.place == "a"


def test_a_place_that_is_set_aside_and_then_vanishes_is_not_taken() -> None:
    lab = lab_with("a", "b")
    alice = lab.client("host/alice")
    alice.acquire("a")
    alice.acquire("b")
    job = Job(lab, "job")
    assert not job.step()
    lab.offline.add("a")
    alice.release("a")
    assert not job.step()
    assert not lab.coordinator.places["a"].reservation


def test_a_reservation_that_lapsed_is_made_anew_without_losing_its_turn() -> None:
    lab = lab_with("a")
    alice = lab.client("host/alice")
    alice.acquire("a")
    first, second = Job(lab, "first"), Job(lab, "second")
    assert not first.step()
    lab.passes(5)
    assert not second.step()
    lab.restart()  # labgrid forgets reservations and holds alike
    alice.acquire("a")
    lab.passes(30)
    for job in (second, first, second, first):
        assert not job.step()
    alice.release("a")
    assert not second.step()
    assert first.step()


def test_a_turn_moves_when_the_owner_gets_another_board() -> None:
    lab = lab_with("a", "b")
    alice = lab.client("host/alice")
    alice.acquire("a")
    alice.acquire("b")
    on_a, on_b = Wanted(names=("a",)), Wanted(names=("b",))
    other = Job(lab, "other", on_b, owner="ann")
    ann = Job(lab, "ann", on_a, owner="ann")
    assert not ann.step() and not other.step()
    lab.passes(60)
    bob = Job(lab, "bob", on_a, owner="bob")
    assert not bob.step()
    alice.release("b")
    assert other.step()
    lab.passes(RANK_S)
    assert not ann.step() and not bob.step()
    alice.release("a")
    assert not ann.step()
    assert bob.step()


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 100), st.sampled_from([-1, 0, 0.5, 2])),
        min_size=2,
        max_size=7,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_queue_is_served_by_virtual_arrival_and_people_stand_in_it(
    people: list[tuple[bool, int, float]],
) -> None:
    """People with one priority, jobs with any: who arrived first (virtually) is served first."""
    lab = lab_with("a")
    holder = lab.client("host/first")
    holder.acquire("a")
    arrivals: dict[str, float] = {}
    jobs: dict[str, Job] = {}
    for number, (is_person, pause, priority) in enumerate(people):
        lab.passes(1 + pause * AGEING_S / 100)
        if is_person:
            client = lab.client(f"host/person{number}")
            client.reserve({"board_type": "sample"})
            arrivals[client.identity] = arrival(lab.now, 0)
        else:
            job = Job(lab, f"job{number}", priority=priority, owner=f"owner{number}")
            assert not job.step()
            jobs[job.client.identity] = job
            arrivals[job.client.identity] = arrival(lab.now, priority)
    lab.passes(RANK_S)
    for job in jobs.values():
        assert not job.step()
    served = []
    current = holder
    for _ in people:
        current.release("a")
        token = lab.coordinator.places["a"].reservation
        owner = lab.coordinator.reservations[token].owner
        served.append(owner)
        if owner in jobs:
            assert jobs[owner].step()
            current = jobs[owner].client
        else:
            current = lab.client(owner)
            current.acquire("a")
        lab.coordinator.reservations.pop(token)
        lab.coordinator.places["a"].reservation = None
        lab.passes(RANK_S)
        for other in jobs.values():
            if other.client.identity not in served:
                assert not other.step()
    assert len(served) == len(arrivals)
    assert [arrivals[who] for who in served] == sorted(arrivals.values())


class Farm(RuleBasedStateMachine):
    """Jobs and people over a few places, in any order; labgrid decides who gets what."""

    places = ("a", "b", "c")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.lab = lab_with(*self.places)
        self.all: list[Job] = []
        self.arrived = 0
        self.persons = {name: self.lab.client(f"host/{name}") for name in ("alice", "bob")}
        self.holds: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.barred: set[str] = set()

    @precondition(lambda self: len(self.all) < 6)
    @rule(
        target=jobs,
        priority=st.sampled_from([-3.0, 0.0, 5.0]),
        owner=st.sampled_from(["ann", "ben"]),
        name=st.sampled_from(["", *places]),
    )
    def arrives(self, priority: float, owner: str, name: str) -> Job:
        wanted = Wanted(names=(name,)) if name else ANY
        self.arrived += 1
        job = Job(self.lab, f"job{self.arrived}", wanted, owner, priority, self.barred)
        self.all.append(job)
        return job

    @rule(job=jobs)
    def looks(self, job: Job) -> None:
        if job.place == "" and job in self.all:
            job.step()

    @rule(job=consumes(jobs))
    def ends(self, job: Job) -> None:
        self._end(job)

    def _end(self, job: Job) -> None:
        job.waiter.stop()
        if job.place:
            job.finish()
        self.all.remove(job)

    @rule(seconds=st.sampled_from([1.0, RANK_S, 30.0, AGEING_S]))
    def time_passes(self, seconds: float) -> None:
        self.lab.passes(seconds)

    @rule(name=st.sampled_from(places))
    def goes_or_comes(self, name: str) -> None:
        self.lab.offline ^= {name}

    @rule(name=st.sampled_from(places))
    def is_quarantined_or_readmitted(self, name: str) -> None:
        self.barred ^= {name}

    @rule(job=jobs)
    def a_reservation_lapses(self, job: Job) -> None:
        for token, one in list(self.lab.coordinator.reservations.items()):
            if one.owner == job.client.identity and one.state.name in ("waiting", "allocated"):
                self.lab.lapse(token)

    @rule(who=st.sampled_from(["alice", "bob"]), name=st.sampled_from(places))
    def a_person_takes_or_releases(self, who: str, name: str) -> None:
        if self.holds.get(name) == who:
            del self.holds[name]
            self.persons[who].release(name)
            return
        with contextlib.suppress(LabError):
            self.persons[who].acquire(name)
            self.holds[name] = who

    @rule(who=st.sampled_from(["alice", "bob"]), prio=st.sampled_from([-1.0, 0.0, 9.0]))
    def a_person_reserves_or_cancels(self, who: str, prio: float) -> None:
        if token := self.tokens.pop(who, ""):
            self.persons[who].cancel(token)
        else:
            made = self.persons[who].reserve({"board_type": "sample"}, priority=prio)
            self.tokens[who] = made.token

    @invariant()
    def what_people_have_stays_theirs(self) -> None:
        for name, who in self.holds.items():
            assert self.lab.holder(name) == f"host/{who}"
        for token in self.tokens.values():
            assert token in self.lab.coordinator.reservations

    @invariant()
    def a_job_has_one_place_and_queues_for_no_other_then(self) -> None:
        held = [job for job in self.all if job.place]
        assert len({job.place for job in held}) == len(held)
        for job in held:
            assert self.lab.holder(job.place) == job.client.identity
            assert tokens(self.lab, job.client.identity) <= 1

    @invariant()
    def every_hold_and_reservation_is_somebodys(self) -> None:
        known = {job.client.identity for job in self.all} | {"host/alice", "host/bob"}
        assert {one.owner for one in self.lab.coordinator.reservations.values()} <= known
        assert {self.lab.holder(name) for name in self.places} - {""} <= known

    def teardown(self) -> None:
        """When the people have gone and the places are well, every job gets its board."""
        for name, who in self.holds.items():
            self.persons[who].release(name)
        for who, token in self.tokens.items():
            self.persons[who].cancel(token)
        self.lab.offline.clear()
        self.barred.clear()
        for _ in range(3 * len(self.all) + 3):
            self.lab.passes(RANK_S)
            for job in list(self.all):
                if job.place or job.step():
                    self._end(job)
        assert not self.all, "somebody waits for ever"
        assert not self.lab.coordinator.reservations


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
