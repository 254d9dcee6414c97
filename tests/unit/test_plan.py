"""From chosen places to jobs: boards of one exact type share the tests, others do not."""

from __future__ import annotations

from pathlib import Path

from farm import inventory
from farm.lab.place import Place
from farm.lab.wanted import Wanted
from farm.run.plan import Wish, jobs


def place(name: str, board_type: str) -> Place:
    tags = {"board_type": board_type, "image": "debian-13", "hw_emulator": "qemu-7.2"}
    return Place(name, tags, frozenset(), holder="", reservation="", resources=(), missing=())


def test_boards_of_one_exact_type_share_the_tests(tmp_path: Path) -> None:
    places = [
        place("virt-exact-1", "virt-exact"),
        place("virt-smmuv3-1", "virt-smmuv3"),
        place("virt-exact-2", "virt-exact"),
        place("virt-smmuv3-2", "virt-smmuv3"),
    ]
    wish = Wish(run="run", coordinator="", folder=tmp_path, suites=["sync"], cached=False)
    made = jobs(places, inventory.load_board_types(), wish)
    assert [(job.board, job.shard, job.shards) for job in made] == [
        ("virt-exact-1", 0, 2),
        ("virt-smmuv3-1", 0, 1),
        ("virt-exact-2", 1, 2),
        ("virt-smmuv3-2", 0, 1),
    ]
    assert not any(job.cached for job in made)


def test_a_job_that_any_board_of_a_type_will_do_for_is_named_by_the_type(tmp_path: Path) -> None:
    places = [place("virt-smmuv3-1", "virt-smmuv3"), place("desk", "virt-smmuv3")]
    rule = Wanted(board_type="virt-smmuv3", prefer="virt-smmuv3-1")
    wish = Wish(
        run="run",
        coordinator="",
        folder=tmp_path,
        suites=["sync"],
        owner="ann",
        priority=2.0,
        expected_s={"virt-smmuv3": 60.0},
        wanted={"virt-smmuv3-1": rule},
    )
    one, desk = jobs(places, inventory.load_board_types(), wish)
    assert (one.job, one.wanted, one.folder.name) == ("any-virt-smmuv3-1", rule, one.job)
    assert (desk.job, desk.wanted) == ("desk", None)
    assert (one.owner, one.priority, one.expected_s) == ("ann", 2.0, 60.0)
    placed = one.on("virt-smmuv3-7", one.image, {"emulator": "qemu"})
    assert (placed.board, placed.job, placed.wanted) == ("virt-smmuv3-7", one.job, None)


def test_the_parts_of_a_night_have_jobs_of_their_own_on_one_board(tmp_path: Path) -> None:
    places = [place("virt-smmuv3-1", "virt-smmuv3")]
    found = []
    for part in ("debian-13", ""):
        wish = Wish("run", "", tmp_path, ["sync"], plan="nightly", part=part, until=5.0)
        (job,) = jobs(places, inventory.load_board_types(), wish)
        assert (job.board, job.plan, job.until) == ("virt-smmuv3-1", "nightly", 5.0)
        found.append((job.job, job.folder))
    names = ["virt-smmuv3-1.debian-13", "virt-smmuv3-1"]
    assert found == [(name, tmp_path / name) for name in names]
