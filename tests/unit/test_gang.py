"""Several places at once, served by labgrid's own scheduler: all or none, and no deadlock."""

from __future__ import annotations

import contextlib
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from labgrid_queue import ANY, Job, Lab, lab_with

from farm.errors import LabError
from farm.lab.gang import HOLD_S, REST_S, Gang, Member
from farm.lab.holding import LEASE_TAG
from farm.lab.lease import OWN_USER
from farm.lab.waiting import RANK_S
from farm.lab.wanted import Wanted

PLACES = ("a", "b", "c", "d")
numbers = count()


class Crew:
    """A gang and its places, as the process of a run has it."""

    def __init__(self, lab: Lab, names: tuple[str, ...]) -> None:
        self.lab = lab
        self.names = names
        self.started = False
        self.gang = Gang(
            lambda: self.names,
            lambda: lab.client(f"host/{OWN_USER}crew-{next(numbers):08x}"),
            taking=self.taking,
            clock=lambda: lab.now,
            now=lambda: lab.now,
            chance=lambda: 0.5,
        )

    def taking(self, member: Member) -> None:
        """Every place of a gang is set aside before the first is acquired."""
        assert all(one.turn is not None for one in self.gang.members)

    def step(self) -> bool:
        self.started = self.started or self.gang.step()
        if self.started:
            for member in self.gang.members:
                member.lab.set_tags(member.place, {LEASE_TAG: member.lab.identity})
        return self.started

    def end(self) -> None:
        for member in self.gang.members:
            member.lab.set_tags(member.place, {LEASE_TAG: ""})
        self.gang.stop()

    def holds(self) -> set[str]:
        mine = {member.lab.identity for member in self.gang.members}
        return {name for name in PLACES if self.lab.holder(name) in mine}


def test_free_places_are_had_at_once_and_given_back_together() -> None:
    lab = lab_with(*PLACES)
    crew = Crew(lab, ("c", "a"))
    assert crew.step()
    assert crew.holds() == {"a", "c"}
    crew.end()
    assert crew.holds() == set()
    assert not lab.coordinator.reservations


def test_nothing_is_acquired_before_everything_is_set_aside() -> None:
    lab = lab_with(*PLACES)
    job = Job(lab, "job", Wanted(names=("b",)))
    assert job.step()
    crew = Crew(lab, ("a", "b"))
    for _ in range(50):
        lab.passes(RANK_S)
        assert not crew.step()
    assert crew.holds() == set()
    assert lab.coordinator.places["a"].reservation  # a job ends in time: what is there is kept
    job.finish()
    assert crew.step()
    assert crew.holds() == {"a", "b"}


def test_who_waits_for_a_person_lets_others_have_what_was_set_aside() -> None:
    lab = lab_with(*PLACES)
    alice = lab.client("host/alice")
    alice.acquire("b")
    crew = Crew(lab, ("a", "b"))
    assert not crew.step()
    lab.passes(HOLD_S)
    assert not crew.step()
    assert not lab.coordinator.reservations
    job = Job(lab, "job", Wanted(names=("a",)))
    assert job.step()
    job.finish()
    alice.release("b")
    lab.passes(1.5 * REST_S)
    assert crew.step()


def test_a_place_that_refuses_has_all_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_with(*PLACES)
    crew = Crew(lab, ("a", "b"))

    def refuse(member: Member) -> None:
        if member.place == "b":
            raise LabError("its exporter refuses")

    monkeypatch.setattr(crew.gang, "_taking", refuse)
    assert not crew.step()
    assert crew.holds() == set()
    assert not lab.coordinator.reservations


class Farm(RuleBasedStateMachine):
    """Gangs, jobs and people over a few places, in any order; labgrid decides who gets what."""

    crews = Bundle("crews")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.lab = lab_with(*PLACES)
        self.crews_here: list[Crew] = []
        self.jobs_here: list[Job] = []
        self.alice = self.lab.client("host/alice")
        self.hers: set[str] = set()

    @precondition(lambda self: len(self.crews_here) < 4)
    @rule(target=crews, names=st.sets(st.sampled_from(PLACES), min_size=2, max_size=4))
    def a_gang_arrives(self, names: set[str]) -> Crew:
        self.crews_here.append(Crew(self.lab, tuple(names)))
        return self.crews_here[-1]

    @precondition(lambda self: len(self.jobs_here) < 4)
    @rule(target=jobs, name=st.sampled_from(["", *PLACES]))
    def a_job_arrives(self, name: str) -> Job:
        wanted = Wanted(names=(name,)) if name else ANY
        self.jobs_here.append(Job(self.lab, f"job{next(numbers)}", wanted))
        return self.jobs_here[-1]

    @rule(crew=crews)
    def a_gang_looks(self, crew: Crew) -> None:
        if crew in self.crews_here and not crew.started:
            crew.step()

    @rule(job=jobs)
    def a_job_looks(self, job: Job) -> None:
        if job in self.jobs_here and not job.place:
            job.step()

    @rule(crew=crews)
    def a_gang_ends(self, crew: Crew) -> None:
        if crew in self.crews_here:
            crew.end()
            self.crews_here.remove(crew)

    @rule(job=jobs)
    def a_job_ends(self, job: Job) -> None:
        if job in self.jobs_here:
            self._end(job)

    def _end(self, job: Job) -> None:
        job.waiter.stop()
        if job.place:
            job.finish()
        self.jobs_here.remove(job)

    @rule(seconds=st.sampled_from([1.0, RANK_S, HOLD_S, 2 * REST_S]))
    def time_passes(self, seconds: float) -> None:
        self.lab.passes(seconds)

    @rule(name=st.sampled_from(PLACES))
    def alice_takes_or_releases(self, name: str) -> None:
        if name in self.hers:
            self.hers.remove(name)
            self.alice.release(name)
            return
        with contextlib.suppress(LabError):
            self.alice.acquire(name)
            self.hers.add(name)

    @rule(token=st.randoms(use_true_random=False))
    def a_reservation_lapses(self, token: object) -> None:
        waiting = [
            one.token
            for one in self.lab.coordinator.reservations.values()
            if one.state.name in ("waiting", "allocated")
        ]
        if waiting:
            self.lab.lapse(token.choice(sorted(waiting)))  # type: ignore[attr-defined]

    @invariant()
    def a_gang_has_all_of_its_places_or_none(self) -> None:
        for crew in self.crews_here:
            assert crew.holds() == (set(crew.names) if crew.started else set())

    @invariant()
    def alices_places_stay_hers(self) -> None:
        assert all(self.lab.holder(name) == "host/alice" for name in self.hers)

    def teardown(self) -> None:
        """When alice has gone, every gang and every job gets its boards, whoever waits for whom."""
        for name in self.hers:
            self.alice.release(name)
        for _ in range(40 + 8 * (len(self.crews_here) + len(self.jobs_here))):
            self.lab.passes(RANK_S)
            for job in list(self.jobs_here):
                if job.place or job.step():
                    self._end(job)
            for crew in list(self.crews_here):
                if crew.started or crew.step():
                    crew.end()
                    self.crews_here.remove(crew)
        assert not self.crews_here and not self.jobs_here, "somebody waits for ever"
        assert all(not self.lab.holder(name) for name in PLACES)


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
