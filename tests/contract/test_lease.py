"""Leases against a real coordinator: however a holder ends, its place is free again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from farm.errors import LabError
from farm.lab import records
from farm.lab.coordinator import Coordinator
from farm.lab.health import HealthBook
from farm.lab.holding import BEAT_TAG, LEASE_TAG, OWNER_TAG, RUN_TAG, TAGS, UNTIL_TAG
from farm.lab.lease import Lease, LeaseRequest, is_ours, new_identity
from farm.lab.place import Place
from farm.lab.reconcile import STALE_S, Heartbeats, end_dead_leases
from farm.lab.wanted import Wanted


def request(lab: Any, place: str = "board-1") -> LeaseRequest:
    return LeaseRequest(
        coordinator=lab.address,
        place=place,
        identity=new_identity("testhost"),
        run="run",
        job=place,
        owner="ann",
        expected_s=36_100,
    )


def ignore(reason: str) -> None:
    pass


def wait_for_release(client: Coordinator, name: str) -> Place:
    pause = threading.Event()
    while (place := client.place(name)).holder or place.reservation:
        pause.wait(0.05)
    return place


def test_a_lease_holds_its_place_and_gives_it_back(sample_lab: Any) -> None:
    wish = request(sample_lab)
    lease = Lease.take(wish, on_lost=ignore)
    with sample_lab.client() as client:
        place = client.place("board-1")
        assert place.holder == wish.identity
        assert place.tags[LEASE_TAG] == wish.identity
        assert place.tags[BEAT_TAG].isdigit()
        assert (place.tags[RUN_TAG], place.tags[OWNER_TAG]) == ("run", "ann")
        assert int(place.tags[UNTIL_TAG]) == pytest.approx(time.time() + 36_100, abs=600)
        assert lease.environment()["LG_TOKEN"] == place.reservation
        assert [record.place for _, record in records.read_all()] == ["board-1"]
        lease.release()
        after = client.place("board-1")
        assert after.free
        assert not after.tags.keys() & set(TAGS)
    assert records.read_all() == []


def test_a_lease_of_just_anything_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="neither a place nor what is wanted"):
        LeaseRequest(coordinator="lab", identity="a/b", run="run", job="job")


def test_a_place_that_was_set_aside_and_has_lapsed_is_waited_for_like_any_other(
    sample_lab: Any,
) -> None:
    wish = request(sample_lab).model_copy(update={"token": "LAPSED"})
    lease = Lease.take(wish, on_lost=ignore)
    with sample_lab.client() as client:
        place = client.place("board-1")
        assert (place.holder, place.reservation) == (wish.identity, lease.token)
        lease.release()
        assert client.reservations() == []
    assert lease.token != "LAPSED"


def test_a_held_place_is_refused_with_its_holder(sample_lab: Any) -> None:
    first = request(sample_lab)
    lease = Lease.take(first, on_lost=ignore)
    with pytest.raises(
        LabError, match=r"board board-1 is held by run run of ann, about 10\.0 h left"
    ):
        Lease.take(request(sample_lab), on_lost=ignore)
    with sample_lab.client() as client:
        assert client.place("board-1").holder == first.identity
        lease.release()
        assert client.reservations() == []


def test_a_waiting_lease_gets_the_place_when_it_is_released(sample_lab: Any) -> None:
    first = Lease.take(request(sample_lab), on_lost=ignore)
    wish = request(sample_lab).model_copy(update={"wait_s": 60.0})
    got: list[Lease] = []
    waiter = threading.Thread(target=lambda: got.append(Lease.take(wish, on_lost=ignore)))
    waiter.start()
    with sample_lab.client() as client:
        pause = threading.Event()
        while len(client.reservations()) < 2:
            pause.wait(0.05)
        first.release()
        waiter.join()
        assert client.place("board-1").holder == wish.identity
    got[0].release()


def test_two_places_are_leased_side_by_side(sample_lab: Any) -> None:
    leases = [
        Lease.take(request(sample_lab, name), on_lost=ignore) for name in ("board-1", "board-2")
    ]
    with sample_lab.client() as client:
        holders = {place.holder for place in client.places().values()}
        assert len(holders) == 2
        assert all(map(is_ours, holders))
    for lease in leases:
        lease.release()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_leaves_no_lease_and_the_board_off(sample_lab: Any, end: int) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, signal\n"
            "from farm.lab.lease import Lease, LeaseRequest\n"
            "wish = LeaseRequest.model_validate_json(sys.argv[1])\n"
            "Lease.take(wish, on_lost=print)\n"
            "print('held', flush=True)\n"
            "signal.pause()\n",
            request(sample_lab).model_dump_json(),
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    sample_lab.outlets.state["/outlet/1"] = "1"
    os.killpg(holder.pid, end)
    holder.wait()
    holder.stdout.close()
    with sample_lab.client() as client:
        wait_for_release(client, "board-1")
    assert sample_lab.outlets.state["/outlet/1"] == "0"
    pause = threading.Event()
    while records.read_all():
        pause.wait(0.05)


def test_a_killed_keeper_is_noticed_and_its_lease_ended_later(sample_lab: Any) -> None:
    lost = threading.Event()
    wish = request(sample_lab)
    lease = Lease.take(wish, on_lost=lambda reason: lost.set())
    sample_lab.outlets.state["/outlet/1"] = "1"
    os.kill(lease.keeper_pid, signal.SIGKILL)
    assert lost.wait(30)
    assert "keeper of board-1 died" in lease.lost
    with sample_lab.client() as client:
        assert client.place("board-1").holder == wish.identity
        assert end_dead_leases(sample_lab.address) == ["board-1"]
        assert client.place("board-1").free
        assert client.reservations() == []
    assert sample_lab.outlets.state["/outlet/1"] == "0"
    assert records.read_all() == []
    lease.abandon()


@pytest.mark.parametrize(("next_holder", "taken"), [("", False), ("testhost/alice", True)])
def test_a_lease_that_somebody_else_ended_is_noticed(
    sample_lab: Any, next_holder: str, taken: bool
) -> None:
    lost = threading.Event()
    wish = request(sample_lab).model_copy(update={"beat_s": 0.3})
    lease = Lease.take(wish, on_lost=lambda reason: lost.set())
    sample_lab.outlets.state["/outlet/1"] = "1"
    os.kill(lease.keeper_pid, signal.SIGSTOP)  # or it might look between the two
    with sample_lab.client("alice") as alice:
        alice.cancel(lease.token)
        alice.release("board-1", holder=wish.identity)
        if next_holder:
            alice.acquire("board-1")
        os.kill(lease.keeper_pid, signal.SIGCONT)
        assert lost.wait(30)
        assert lease.taken == taken
        assert lease.lost == f"board board-1 is now held by {next_holder or 'nobody'}"
        lease.abandon()
        assert alice.place("board-1").holder == next_holder
    assert sample_lab.outlets.state["/outlet/1"] == "1"
    assert records.read_all() == []


def test_a_living_lease_and_a_person_are_left_alone(sample_lab: Any) -> None:
    lease = Lease.take(request(sample_lab), on_lost=ignore)
    with sample_lab.client("alice") as alice:
        alice.acquire("board-2")
        assert end_dead_leases(sample_lab.address) == []
        assert alice.place("board-1").holder == lease.request.identity
        assert alice.place("board-2").holder == "testhost/alice"
    lease.release()


def test_another_controllers_stale_heartbeat_ends_its_lease(sample_lab: Any) -> None:
    identity = new_identity("elsewhere")
    with Coordinator(sample_lab.address, identity) as other:
        other.acquire("board-1")
        then = int(time.time())
        other.set_tags("board-1", {LEASE_TAG: identity, BEAT_TAG: str(then)})
        young = Heartbeats(quiet_s=0, now=lambda: then + STALE_S)
        assert end_dead_leases(sample_lab.address, beats=young) == []
        old = Heartbeats(quiet_s=0, now=lambda: then + STALE_S + 1)
        assert end_dead_leases(sample_lab.address, beats=old) == ["board-1"]
        assert other.place("board-1").free


def test_a_persons_place_with_old_tags_is_not_taken(sample_lab: Any) -> None:
    with sample_lab.client("alice") as alice:
        alice.set_tags("board-1", {LEASE_TAG: new_identity("elsewhere"), BEAT_TAG: "1"})
        alice.acquire("board-1")
        assert end_dead_leases(sample_lab.address) == []
        assert alice.place("board-1").holder == "testhost/alice"


def test_an_offline_board_is_refused(sample_lab: Any) -> None:
    sample_lab.stop_exporter()
    with sample_lab.client() as client:
        pause = threading.Event()
        while client.place("board-1").online:
            pause.wait(0.05)
    with pytest.raises(LabError, match="board board-1 is offline"):
        Lease.take(request(sample_lab), on_lost=ignore)


def test_records_of_a_vanished_lab_are_forgotten(sample_lab: Any, state: Path) -> None:
    records.write(
        records.LeaseRecord(
            coordinator="127.0.0.1:1",
            place="gone",
            identity=new_identity("testhost"),
            token="",
            run="run",
            job="gone",
            pid=2**22 + 1,
            started=1,
            boot_id=records.boot_id(),
        )
    )
    assert end_dead_leases(sample_lab.address) == []
    assert records.read_all() == []


def test_a_lease_outlives_a_coordinator_that_forgot_it(sample_lab: Any) -> None:
    lost = threading.Event()
    wish = request(sample_lab)
    lease = Lease.take(wish, on_lost=lambda reason: lost.set())
    sample_lab.outlets.state["/outlet/1"] = "1"
    sample_lab.restart_coordinator()
    sample_lab.start_exporter()
    with sample_lab.client() as client:
        await_holder(client, "board-1", wish.identity)
        place = client.place("board-1")
        assert {resource.holder for resource in place.resources} == {"board-1"}
        (record,) = [record for _, record in records.read_all()]
        assert record.token == place.reservation != lease.token
        lease.release()
        assert client.place("board-1").free
        assert client.reservations() == []
    assert not lost.is_set()
    assert sample_lab.outlets.state["/outlet/1"] == "1"
    assert records.read_all() == []


def test_a_place_that_somebody_took_while_labgrid_had_forgotten_us_is_theirs(
    sample_lab: Any,
) -> None:
    lost = threading.Event()
    wish = request(sample_lab)
    lease = Lease.take(wish, on_lost=lambda reason: lost.set())
    sample_lab.outlets.state["/outlet/1"] = "1"
    os.kill(lease.keeper_pid, signal.SIGSTOP)
    sample_lab.restart_coordinator()
    with sample_lab.client("alice") as alice:
        alice.acquire("board-1")
        os.kill(lease.keeper_pid, signal.SIGCONT)
        assert lost.wait(60)
        assert lease.taken
        assert lease.lost == "board board-1 is now held by testhost/alice"
        lease.abandon()
        assert alice.place("board-1").holder == "testhost/alice"
    assert sample_lab.outlets.state["/outlet/1"] == "1"


def test_a_lease_outlives_its_exporter_and_is_released_without_it(sample_lab: Any) -> None:
    lost = threading.Event()
    wish = request(sample_lab).model_copy(update={"beat_s": 0.3})
    lease = Lease.take(wish, on_lost=lambda reason: lost.set())
    pause = threading.Event()
    with sample_lab.client() as client:
        sample_lab.stop_exporter()
        while client.place("board-1").online:
            pause.wait(0.05)
        beat = client.place("board-1").tags[BEAT_TAG]
        while client.place("board-1").tags[BEAT_TAG] == beat:
            pause.wait(0.05)
        assert client.place("board-1").holder == wish.identity
        lease.release()
        assert client.place("board-1").free
        sample_lab.start_exporter()
        assert client.wait_for(lambda places: places["board-1"].online, 60)
    assert not lost.is_set()
    Lease.take(request(sample_lab), on_lost=ignore).release()


def test_a_dead_jobs_board_goes_off_though_labgrid_forgot_who_held_it(sample_lab: Any) -> None:
    lease = Lease.take(request(sample_lab), on_lost=ignore)
    sample_lab.outlets.state["/outlet/1"] = "1"
    os.kill(lease.keeper_pid, signal.SIGSTOP)
    sample_lab.restart_coordinator()
    sample_lab.start_exporter()
    threading.Timer(0.5, os.kill, (lease.keeper_pid, signal.SIGCONT)).start()
    lease.abandon()
    assert sample_lab.outlets.state["/outlet/1"] == "0"
    with sample_lab.client() as client:
        assert client.place("board-1").free
    assert records.read_all() == []


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_lease_of_the_controllers_last_boot_is_ended_at_once(
    sample_lab: Any, forgotten: bool
) -> None:
    identity = new_identity("testhost")
    with Coordinator(sample_lab.address, identity) as before:
        token = before.reserve({"name": "board-1"}).token
        before.acquire("board-1")
        before.set_tags("board-1", {LEASE_TAG: identity, BEAT_TAG: str(int(time.time()))})
    records.write(
        records.LeaseRecord(
            coordinator=sample_lab.address,
            place="board-1",
            identity=identity,
            token=token,
            run="run",
            job="board-1",
            pid=os.getpid(),
            started=records.start_time(os.getpid()),
            boot_id="another boot",
        )
    )
    sample_lab.outlets.state["/outlet/1"] = "1"
    if forgotten:  # the coordinator's machine lost its power, too
        sample_lab.restart_coordinator()
        assert end_dead_leases(sample_lab.address) == [], "its exporter is not there yet"
        sample_lab.start_exporter()
        with sample_lab.client() as client:
            assert client.wait_for(lambda places: places["board-1"].online, 60)
    assert end_dead_leases(sample_lab.address) == ["board-1"]
    with sample_lab.client() as client:
        assert client.place("board-1").free
        assert client.reservations() == []
    assert sample_lab.outlets.state["/outlet/1"] == "0"


def test_any_of_several_boards_is_waited_for_and_nobody_else_is_in_the_way(
    sample_lab: Any,
) -> None:
    wish = request(sample_lab).model_copy(
        update={"place": "", "wanted": Wanted(board_type="sample"), "wait_s": 120.0}
    )
    with sample_lab.client("alice") as alice, sample_lab.client("bob") as bob:
        alice.acquire("board-1")
        alice.acquire("board-2")
        bob.reserve({"board_type": "sample"})
        pause = threading.Event()
        with taking(wish) as got:
            while len(alice.reservations()) < 3:
                pause.wait(0.05)
            alice.release("board-2")
            bob.acquire("board-2")
            alice.release("board-1")
            lease = got()
        assert lease.place == "board-1"
        assert lease.tags["board_type"] == "sample"
        assert alice.place("board-1").holder == wish.identity
        assert alice.place("board-2").holder == "testhost/bob"
        owners = sorted(one.owner for one in alice.reservations())
        assert owners == sorted([wish.identity, "testhost/bob"])
        lease.release()


def test_a_quarantined_board_is_not_taken_and_a_refusal_tells_why(sample_lab: Any) -> None:
    book = HealthBook(sample_lab.address)
    book.quarantine("board-1", "smells")
    any_board = request(sample_lab).model_copy(
        update={"place": "", "wanted": Wanted(board_type="sample")}
    )
    lease = Lease.take(any_board, on_lost=ignore)
    assert lease.place == "board-2"
    check = request(sample_lab).model_copy(update={"for_check": True})
    Lease.take(check, on_lost=ignore).release()
    again = any_board.model_copy(update={"identity": new_identity("testhost")})
    with pytest.raises(LabError) as caught:
        Lease.take(again, on_lost=ignore)
    assert re.fullmatch(
        "no free board for board type sample: 2 boards match: 1 quarantined since .* by hand: "
        r"smells, 1 held \(run run, about 10\.0 h left\)",
        caught.value.message,
    )
    lease.release()


def test_who_waits_ends_the_lease_of_a_holder_that_died_elsewhere(sample_lab: Any) -> None:
    dead = new_identity("elsewhere")
    with Coordinator(sample_lab.address, dead) as other:
        other.acquire("board-1")
        other.set_tags("board-1", {LEASE_TAG: dead, BEAT_TAG: str(int(time.time() - STALE_S - 1))})
    wish = request(sample_lab).model_copy(update={"wait_s": 120.0, "beat_s": 0.3})
    lease = Lease.take(wish, on_lost=ignore)
    with sample_lab.client() as client:
        assert client.place("board-1").holder == wish.identity
    lease.release()


def test_who_waits_follows_a_coordinator_that_restarts(sample_lab: Any) -> None:
    wish = request(sample_lab).model_copy(update={"wait_s": 120.0})
    with sample_lab.client("alice") as alice:
        alice.acquire("board-1")
        pause = threading.Event()
        with taking(wish) as got:
            while not alice.reservations():
                pause.wait(0.05)
            sample_lab.restart_coordinator()
            sample_lab.start_exporter()
            lease = got()
    with sample_lab.client() as client:
        assert client.place("board-1").holder == wish.identity
    lease.release()


def await_holder(client: Coordinator, name: str, holder: str) -> None:
    assert client.wait_for(lambda places: name in places and places[name].holder == holder, 60)


@contextlib.contextmanager
def taking(wish: LeaseRequest) -> Iterator[Callable[[], Lease]]:
    """Take a lease in another thread; what is given waits for it."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(Lease.take, wish, on_lost=ignore)
        yield future.result
