"""Image profiles end to end: other kernels, a driver of the user's own, and what cannot be had."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm import events, image, inventory
from farm.image import apt, cache, kernel
from farm.image.modules import decompress
from farm.image.own import read_driver
from tests.e2e.conftest import ROOT, Farm

pytestmark = pytest.mark.e2e

SIGNED = b"~Module signature appended~\n"
BAD_DRIVERS = {
    "refuses": "return -ENODEV;",
    "oopses": "*(volatile int *)NULL = 1; return 0;",
    "hangs": "for (;;)\n\t\tcpu_relax();\n\treturn 0;",
}
"""Kernel modules by name, and what their init does."""
BAD_DRIVER = """\
#include <linux/module.h>
#include <linux/processor.h>

static int __init init(void)
{{
	{body}
}}
module_init(init);
MODULE_DESCRIPTION("does not load");
MODULE_LICENSE("GPL");
"""


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


def findings(farm: Farm, body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return verdict and reason of the tests that ran, of a run's only job."""
    cases = farm.json("show", body["run"])["cases"]
    return [
        (one["verdict"], one["reason"]) for one in cases if one["verdict"] not in ("MISS", "SKIP")
    ]


def test_a_driver_that_does_not_load_is_the_finding(
    own_farm: Farm, vgem: Path, tmp_path: Path
) -> None:
    code = decompress(vgem).removesuffix(SIGNED)  # nor is it what was signed any more
    assert b"\0drm_dev_register\0" in code
    driver = tmp_path / "vgem.ko"
    driver.write_bytes(code.replace(b"\0drm_dev_register\0", b"\0drm_dev_registeX\0"))
    body = own_farm.json("run", "sync", "--board", "virt-noiommu", "--driver", str(driver))
    assert body["exit"] == 1
    assert body["jobs"][0]["verdicts"]["MISS"] > 0
    ((verdict, reason),) = findings(own_farm, body)
    assert verdict == "FAIL"
    assert reason.startswith("driver under test vgem did not load: unknown symbol in module")
    assert "vgem: Unknown symbol drm_dev_registeX (err -2)" in reason


def test_a_module_of_the_profile_that_does_not_load_is_a_failure(
    own_farm: Farm, tmp_path: Path
) -> None:
    for name in ("board-configs", "testsuites"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    own_farm.variables["FARM_ROOT"] = str(tmp_path / "project")
    (tmp_path / "project" / "board-configs" / "images" / "odd.yaml").write_text(
        "like: debian-13\ndescription: odd\nmodule_options: {vivid: n_devs=many}\n"
    )
    body = own_farm.json("run", "sync", "--board", "virt-noiommu", "--image", "odd")
    assert body["exit"] == 1
    found = findings(own_farm, body)
    first = "the image's kernel module vivid did not load: Invalid argument"
    assert [verdict for verdict, reason in found if reason.startswith(first)] == ["FAIL"]
    assert "vivid: `many' invalid for parameter `n_devs'" in "".join(reason for _, reason in found)
    assert "PASS" in dict(found)


def test_a_kernel_that_has_left_the_archive_names_those_that_are_there(own_farm: Farm) -> None:
    done = own_farm.call("image", "build", "debian:6.12.1+deb13")
    assert done.returncode == 3
    assert "linux-image-6.12.1+deb13-arm64" in done.stderr
    assert "+deb13" in done.stderr.partition("next:")[2]
    with cache.building():  # nor does anybody else, whose draft would be there
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
@pytest.mark.parametrize(
    ("name", "said"),
    [("refuses", "No such device"), ("oopses", "Unable to handle kernel"), ("hangs", "stall")],
)
def test_a_driver_whose_init_fails_is_the_finding(
    own_farm: Farm, tmp_path: Path, name: str, said: str
) -> None:
    made = image.build(inventory.load_image_profile("reference-6.12"))
    folders = (path.parent for path in cache.kernels_dir().glob(f"*/{kernel.MANIFEST}"))
    built = next(one for one in map(kernel.read, folders) if one.release == made.kernel_release)
    source = tmp_path / "source"
    source.mkdir()
    (source / "Kbuild").write_text(f"obj-m += {name}.o\n")
    (source / f"{name}.c").write_text(BAD_DRIVER.format(body=BAD_DRIVERS[name]))
    (driver,) = kernel.build_modules(built, source, tmp_path / "work", lambda _: None)
    words = ("sync", "--image", "reference-6.12", "--board", "virt-noiommu")
    body = own_farm.json("run", *words, "--driver", str(driver))
    assert body["exit"] == 1
    ((verdict, reason),) = findings(own_farm, body)
    assert verdict == "FAIL"
    assert reason.startswith(f"driver under test {name} did not load: ") and said in reason


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("profile", ["reference-6.12+debug"])
def test_a_debug_kernel_boots_and_finds_nothing(own_farm: Farm, profile: str) -> None:
    body = own_farm.json("run", "mapcache", "sync", "--image", profile, "--board", "virt-smmuv3")
    assert body["exit"] == 0, body["jobs"]


LOSING = """
def test_is_clean(board):
    board.run("self_pass")


def test_loses_memory(board):
    board.run("evidence_memory_lost")


def test_loses_memory_on_purpose(board):
    board.run("evidence_memory_lost", tolerate=["memory_leak"])


def test_is_clean_again(board):
    board.run("self_pass")
"""


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("profile", ["reference-6.12+debug", "reference-7.x+debug"])
def test_lost_memory_is_the_fault_of_the_test_that_lost_it(own_farm: Farm, profile: str) -> None:
    own_farm.own_suite("losing", LOSING)
    body = own_farm.json("run", "losing", "--image", profile, "--board", "virt-smmuv3")
    assert body["exit"] == 1
    found = findings(own_farm, body)
    assert [verdict for verdict, _ in found] == ["PASS", "FAIL", "PASS", "PASS"]
    reason = found[1][1]
    assert "kmemleak: " in reason and "256 bytes by payload-" in reason
    assert " in refdev_lose < param_attr_store" in reason
    assert reason.endswith("(looked for after the last test)")
