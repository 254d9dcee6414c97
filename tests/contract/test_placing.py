"""``farm run --dry-run`` and refusals: what a lab's boards are for a run, on a real coordinator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from documented import documented

from farm import events
from farm.cli.placing import Placing
from farm.cli.together import take_together
from farm.errors import LabError
from farm.inventory import load_board_types
from farm.lab import records
from farm.lab.health import HealthBook
from farm.lab.holding import LEASE_TAG, OWNER_TAG, RUN_TAG, UNTIL_TAG
from farm.lab.lease import Lease, LeaseRequest, new_identity
from farm.lab.reconcile import end_dead_leases
from farm.lab.wanted import Wanted
from farm.run.job import SPEC, JobSpec, Reserved
from farm.run.orchestrator import Job, Orchestrator
from farm.run.plan import Wish, jobs

HELD_S = 36_100
FARM = (sys.executable, "-c", "from farm.cli.main import main; main()")


@pytest.fixture
def typed_lab(sample_lab: Any) -> Any:
    """The sample lab, its boards of a type that the farm knows."""
    with sample_lab.client() as client:
        for name in ("board-1", "board-2"):
            client.set_tags(name, {"board_type": "virt-noiommu", "image": "debian-13"})
    return sample_lab


def farm(lab: Any, *words: str) -> subprocess.CompletedProcess[str]:
    words = ("run", "--coordinator", lab.address, *words)
    return subprocess.run([*FARM, *words], capture_output=True, text=True)


def decided(lab: Any, *words: str) -> tuple[dict[str, str], dict[str, Any]]:
    done = farm(lab, "--dry-run", "--json", *words)
    body = json.loads(done.stdout)
    assert done.returncode == body["exit"], done.stderr
    return {row["board"]: f"{row['decision']}: {row['reason']}" for row in body["boards"]}, body


def test_a_dry_run_says_what_is_taken_waited_for_and_left_and_takes_nothing(typed_lab: Any) -> None:
    HealthBook(typed_lab.address).quarantine("board-2", "smells")
    holder = new_identity("elsewhere")
    with typed_lab.client("alice") as client:
        found, body = decided(typed_lab)
        assert found["board-1"] == "take: free"
        assert found["board-2"].startswith("no: quarantined since ")
        assert documented("farm run --dry-run --json") == {*body, *body["boards"][0]}
        assert (body["virtual"], body["refusal"]) == ([], "")

        client.acquire("board-1")
        tags = {LEASE_TAG: "testhost/alice", RUN_TAG: "812", OWNER_TAG: "ann"}
        client.set_tags("board-1", {**tags, UNTIL_TAG: str(int(time.time()) + HELD_S)})
        found, body = decided(typed_lab, "--board", "virt-noiommu")
        assert found["board-1"] == "no: held by run 812 of ann, about 10.0 h left"
        assert body["exit"] == 3
        assert "1 held (run 812, about 10.0 h left)" in body["refusal"]
        found, body = decided(typed_lab, "--board", "virt-noiommu", "--wait", "60")
        assert found["board-1"] == "wait: held by run 812 of ann, about 10.0 h left"
        assert 0 < next(row for row in body["boards"])["free_in_s"] <= HELD_S

        HealthBook(typed_lab.address).readmit("board-2")
        client.set_tags("board-2", {LEASE_TAG: holder})
        client.acquire("board-2")
        found, _ = decided(typed_lab, "--board", "virt-noiommu", "--wait", "60")
        assert found == {
            "board-1": "wait: held by run 812 of ann, about 10.0 h left",
            "board-2": "or: held by testhost/alice; instead of board-1 if it is to be had sooner",
        }
        assert client.reservations() == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--feature", "vivd"), 2, "no board type and no image declares it (did you mean 'vivid'?"),
        (("--feature", "iommu"), 2, "board board-1 lacks iommu, board board-2 lacks iommu"),
        (("--owner", "a b"), 2, "--owner 'a b': expected up to 64 letters"),
        (("--board", "virt-smmuv3"), 3, "no board for board type virt-smmuv3: no board of this"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_never_be_is_refused_with_the_reason(
    typed_lab: Any, words: tuple[str, ...], code: int, said: str
) -> None:
    done = farm(typed_lab, *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def together(lab: Any, wait_s: float, *names: str) -> dict[str, Reserved]:
    wish = Wish(
        run="run", coordinator=lab.address, folder=lab.folder, suites=[], wait_s=wait_s, owner="ann"
    )
    return take_together(lambda: list(names), Placing(owner="ann"), wish)


def test_boards_are_had_together_and_taken_over_by_their_keepers(typed_lab: Any) -> None:
    with typed_lab.client("alice") as alice:
        alice.acquire("board-2")
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(together, typed_lab, 300.0, "board-2", "board-1")
            assert alice.wait_for(lambda places: bool(places["board-1"].reservation), 60)
            assert not alice.place("board-1").holder
            alice.release("board-2")
            reserved = future.result()
        for name, one in reserved.items():
            place = alice.place(name)
            assert (place.holder, place.reservation) == (one.identity, one.token)
            assert (place.tags[LEASE_TAG], place.tags[RUN_TAG]) == (one.identity, "run")
        lease = Lease.take(
            LeaseRequest(
                coordinator=typed_lab.address,
                place="board-1",
                identity=reserved["board-1"].identity,
                token=reserved["board-1"].token,
                run="run",
                job="board-1",
            ),
            on_lost=print,
        )
        # What no keeper took over is given back by the process that has it.
        assert end_dead_leases(typed_lab.address) == ["board-2"]
        assert alice.place("board-1").holder == reserved["board-1"].identity
        lease.release()
        assert [place.free for place in alice.places().values()] == [True, True]
        assert alice.reservations() == []
    assert records.read_all() == []


def test_all_are_given_back_where_one_is_not_to_be_had(typed_lab: Any) -> None:
    with typed_lab.client("alice") as alice:
        alice.acquire("board-2")
        with pytest.raises(LabError, match="together within 1 s: board-2 is held by testhost/ali"):
            together(typed_lab, 1.0, "board-1", "board-2")
        assert alice.place("board-1").free
        assert alice.reservations() == []


class Quiet:
    """Progress that nobody looks at."""

    def update(self, jobs: Sequence[Job]) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def test_a_job_is_on_the_board_that_it_got_and_says_so(typed_lab: Any) -> None:
    with typed_lab.client("alice") as alice:
        alice.set_tags("board-2", {"hw_revision": "2"})
        alice.acquire("board-1")
        wish = Wish(
            run="run",
            coordinator=typed_lab.address,
            folder=typed_lab.folder / "run",
            suites=["sync"],
            select={"virt-noiommu": []},  # what becomes of the job is no matter here
            wait_s=60.0,
            owner="ann",
            wanted={"board-1": Wanted(board_type="virt-noiommu", prefer="board-1")},
        )
        (spec,) = jobs([alice.place("board-1")], load_board_types(), wish)
        (job,) = Orchestrator([spec], Quiet()).run()
        told = list(events.read_journal(job.spec.journal))
        assert alice.place("board-2").free
        assert alice.place("board-1").holder == "testhost/alice"
    states = [one.state for one in told if isinstance(one, events.StateChanged)]
    assert states == ["waiting", "leased", "off", "released"]
    (placed,) = [one for one in told if isinstance(one, events.Placed)]
    assert (placed.board, placed.hardware) == ("board-2", {"revision": "2"})
    assert (job.spec.job, job.spec.board, job.view.board) == (
        "any-virt-noiommu-1", "board-2", "board-2",
    )  # fmt: skip
    assert JobSpec.load(job.spec.folder / SPEC).board == "board-2"
    assert job.view.reason == "no test was selected"
