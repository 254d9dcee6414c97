"""Image profiles end to end: other kernels, a driver of the user's own, and what cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import events, image, inventory
from farm.image import apt, cache
from farm.image.own import read_driver
from tests.e2e.conftest import Farm

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def vgem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module vgem of Debian 13's kernel, as a driver of the user's own."""
    made = image.build(inventory.load_image_profile("debian-13"))
    folder = tmp_path_factory.mktemp("driver")
    for row in made.packages:
        file = cache.packages_dir() / f"{row.sha256}.deb"
        if row.package == f"linux-image-{made.kernel_release}":
            if not file.is_file():
                made = image.build(inventory.load_image_profile("debian-13"), refresh=True)
            apt.unpack(file, folder)
    (found,) = folder.rglob("vgem.ko*")
    return found


def started(farm: Farm, run: str) -> Iterator[events.JobStarted]:
    for path in (farm.folder / "out" / run).glob("*/*.jsonl"):
        event = next(iter(events.read_journal(path)))
        assert isinstance(event, events.JobStarted)
        yield event


def test_a_driver_under_test_is_loaded_and_recorded(own_farm: Farm, vgem: Path) -> None:
    out = str(own_farm.folder / "out")
    words = ("sync", "--board", "virt-noiommu", "--driver", str(vgem), "--out", out)
    body = own_farm.json("run", *words)
    assert body["exit"] == 0
    (job,) = started(own_farm, body["run"])
    row = next(one for one in job.image.packages if one.package == "driver vgem")
    driver = read_driver(vgem)
    assert row.sha256 == driver.sha256
    assert driver.vermagic in row.version


def test_a_driver_for_another_kernel_is_refused_before_any_boot(own_farm: Farm, vgem: Path) -> None:
    done = own_farm.call("run", "sync", "--image", "debian-12", "--driver", str(vgem))
    assert done.returncode == 2
    assert read_driver(vgem).vermagic in done.stderr
    assert "the board boots '6.1." in done.stderr
    assert "next:" in done.stderr


def test_a_kernel_that_has_left_the_archive_names_those_that_are_there(own_farm: Farm) -> None:
    done = own_farm.call("image", "build", "debian:6.12.1+deb13")
    assert done.returncode == 3
    assert "linux-image-6.12.1+deb13-arm64" in done.stderr
    assert "+deb13" in done.stderr.partition("next:")[2]
    assert not list(cache.images_dir().glob(f"{cache.DRAFT}*"))


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("profile", ["debian-12", "debian-sid", "reference-6.12", "reference-7.x"])
def test_every_suite_runs_on_every_kernel(own_farm: Farm, profile: str) -> None:
    body = own_farm.json("run", "--image", profile, "--board", "virt-smmuv3")
    (job,) = body["jobs"]
    assert body["exit"] == 0, job["verdicts"]
    assert job["verdicts"]["PASS"] > 0


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_second_build_finds_the_first(own_farm: Farm) -> None:
    first = own_farm.json("image", "build", "reference-6.12")
    again = own_farm.call("image", "build", "reference-6.12")
    assert again.returncode == 0
    assert first["images"][0]["id"] in again.stdout
    assert again.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("profile", ["reference-6.12+debug"])
def test_a_debug_kernel_boots_and_finds_nothing(own_farm: Farm, profile: str) -> None:
    body = own_farm.json("run", "mapcache", "sync", "--image", profile, "--board", "virt-smmuv3")
    assert body["exit"] == 0, body["jobs"]
