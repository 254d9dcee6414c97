"""Configs of real boards: what they claim, and that labgrid makes a target of them.

Each board's sample exporter file is exported to a real coordinator on loopback. No hardware answers
there, so nothing is activated; that place, resources, drivers and strategy fit is the point.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from farm import inventory, paths
from farm.board.kernel import KernelRelease
from farm.inventory import BoardType
from farm.lab.coordinator import Coordinator
from farm.lab.place import ReservationState
from farm.pytest_plugin.controls import mapping_pairs
from farm.pytest_plugin.expectations import Outcome, Pair, load_expectations
from farm.pytest_plugin.selectors import select
from tests.support.suite_marks import marks_of

BIN = Path(sys.executable).parent
WAIT_S = 60.0
REAL = ("imx8mp-evk", "qualcomm-rb5", "raspberrypi-4", "rock-5b")
SAMPLES = (*REAL, "generic-ssh")
TOLD = {"iommu", "dma", "gpu", "codec", "display", "counters", "console", "kernel"}

TARGET = """
import json, sys
from labgrid import Environment
target = Environment(sys.argv[1]).get_target()
strategy = next(driver for driver in target.drivers if type(driver).__name__.endswith("Strategy"))
print(json.dumps({
    "drivers": sorted(type(driver).__name__ for driver in target.drivers),
    "suppliers": {
        name: type(getattr(strategy, name)).__name__ for name in strategy.bindings
        if getattr(strategy, name) is not None
    },
    "resources": sorted(type(resource).__name__ for resource in target.resources),
}))
"""


@dataclass
class Lab:
    """A coordinator without boards."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("coordinator")
    process = subprocess.Popen(
        [BIN / "labgrid-coordinator", "-l", "127.0.0.1:0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield Lab(process.stdout.readline().split()[-1], folder)
    process.kill()
    process.wait()
    process.stdout.close()


def exports(name: str) -> Path:
    return paths.board_configs() / "exporters" / f"{name}.yaml"


def exported_classes(name: str) -> set[str]:
    ((_, group),) = yaml.safe_load(exports(name).read_text()).items()
    return set(group)


def on_loopback(name: str, folder: Path) -> Path:
    """Return the exporter file with this machine in place of the lab's hosts."""
    content = exports(name).read_text()
    for number in range(1, 255):
        content = content.replace(f"192.0.2.{number}\n", "127.0.0.1\n")
    content = content.replace("192.0.2.", "127.0.0.")
    path = folder / f"{name}.yaml"
    path.write_text(content)
    return path


@pytest.fixture(params=SAMPLES)
def offered(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Export a board's sample, make a place of it, reserve and acquire it: name and token."""
    name = request.param
    place = f"{name}-1"
    exporter = subprocess.Popen(
        [BIN / "labgrid-exporter", "-c", lab.address, "-n", "shelf", on_loopback(name, tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1,localhost"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Coordinator(lab.address, "desk/engineer") as client:
            client.add_place(place)
            client.add_match(place, f"shelf/{place}/*")
            client.set_tags(place, {"board_type": name, "hw_serial": "0001"})
            wanted = len(exported_classes(name))
            assert client.wait_for(lambda places: len(places[place].resources) == wanted, WAIT_S), (
                client.place(place)
            )
            reserved = client.reserve({"name": place})
            while client.poll(reserved.token).state is not ReservationState.ALLOCATED:
                pass
            client.acquire(place)
            yield name, reserved.token
            client.release(place)
            client.cancel(reserved.token)
            client.delete_place(place)
    finally:
        exporter.terminate()
        exporter.wait()


def test_the_config_becomes_a_target_with_every_driver_bound(
    offered: tuple[str, str], lab: Lab, tmp_path: Path
) -> None:
    name, token = offered
    config = paths.board_configs() / f"{name}.yaml"
    done = subprocess.run(
        [sys.executable, "-c", TARGET, config],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("LG_")},
            "LG_COORDINATOR": lab.address,
            "LG_TOKEN": token,
            "LG_HOSTNAME": "desk",
            "LG_USERNAME": "engineer",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    wanted = yaml.safe_load(config.read_text())["targets"]["main"]["drivers"]
    assert made["drivers"] == sorted(wanted)
    assert "RemotePlace" in made["resources"]
    assert len(made["resources"]) == 1 + len(exported_classes(name))
    assert made["suppliers"]["ssh"] == "ParamikoSSHDriver"
    assert ("power" in made["suppliers"]) == (name != "generic-ssh")
    assert ("console" in made["suppliers"]) == (name != "generic-ssh")


@pytest.fixture(params=REAL)
def real(request: pytest.FixtureRequest) -> BoardType:
    return inventory.load_board_types()[request.param]


def test_a_real_board_says_that_nobody_ran_it(real: BoardType) -> None:
    assert real.untested.startswith("Never run on this hardware:")
    assert real.virtual is None
    assert exports(real.name).is_file()


def test_every_topic_is_told_and_every_claim_has_a_source(real: BoardType) -> None:
    assert {claim.about.value for claim in real.claims} >= TOLD
    assert all(claim.sources and claim.says.endswith(".") for claim in real.claims)
    assert all(device.sources for device in real.devices)
    cited = {source.split(" ")[0] for claim in real.claims for source in claim.sources}
    assert all(version in real.untested for version in cited), cited


def test_devices_are_said_to_be_what_the_features_promise(real: BoardType) -> None:
    profile = inventory.load_image_profile(real.image)
    devices = inventory.devices(real, profile)
    assert profile.installed
    ids = [device.id for device in devices]
    assert len(set(ids)) == len(ids)
    addresses = [device.address for device in devices]
    assert len(set(addresses)) == len(addresses), "one address for two devices names neither"
    kinds = {device.kind.value for device in real.devices}
    assert ("drm" in kinds) == ("gpu" in real.features)
    assert bool({"v4l2", "m2m"} & kinds) == bool({"codec", "capture"} & real.features)
    assert any(device.iommu for device in real.devices) == ("iommu" in real.features)
    assert bool(real.iommu) == ("iommu" in real.features)
    coherent = {"coherent"} & real.features == {"coherent"}
    assert {device.coherent for device in real.devices} == {coherent}
    assert not any(device.iommu and device.own_domain for device in devices)
    assert all(device.driver in device.address or device.kind != "drm" for device in real.devices)


@pytest.mark.parametrize("release", ["6.12.107", "7.2.13"])
def test_a_mapping_control_needs_no_signal_and_no_luck(real: BoardType, release: str) -> None:
    table, kernel = load_expectations(), KernelRelease.parse(release)

    sure, unknown = mapping_pairs(
        inventory.devices(real, inventory.load_image_profile(real.image)),
        lambda exporter, importer: table.find(Pair.of(exporter, importer), kernel, real.features),
    )

    exporter, importer = (sure or unknown)[0]
    assert (exporter.kind.value, importer.kind.value) == ("udmabuf", "drm")
    assert all(pair not in unknown for pair in sure)


ANSWERS = {
    "MAP-10": "mapcache/test_map_cost.py::test_map_costs_an_entry_for_each_run",
    "SHR-5": "sharing/test_sharing.py::test_content_outlives_its_exporter",
    "CON-2": "constraints/test_limits.py::test_iommu_makes_scattered_memory_contiguous",
}
"""What a board's own hardware is asked, by the test that asks it."""


@pytest.mark.parametrize("requirement", ANSWERS)
def test_a_real_board_answers_what_its_hardware_is_asked(real: BoardType, requirement: str) -> None:
    """Some importer of the board shares and maps, or the guide says why none can."""
    profile = inventory.load_image_profile(real.image)
    devices = inventory.devices(real, profile)
    marks = marks_of(ANSWERS[requirement])
    axes = next(mark.kwargs for mark in marks if mark.name == "over")
    needed = {name for mark in marks if mark.name == "declared" for name in mark.args}
    table, kernel = load_expectations(), KernelRelease.parse("6.12.107")
    rows = [
        table.find(Pair.of(exporter, importer), kernel, real.features)
        for exporter in select(axes["exporter"], devices)
        for importer in select(axes["importer"], devices)
    ]
    answered = any(row and row.outcome is Outcome.SHARED and row.maps for row in rows)
    guide = (paths.project_root() / "docs" / "bring-up.md").read_text()
    cannot = re.findall(rf"^\| {requirement} \|(.*)\| \S.*\|$", guide, re.M)
    assert answered == (f"`{real.name}`" not in "".join(cannot))
    assert needed <= real.features | profile.features


def test_the_folder_of_board_types_takes_no_exporter_file() -> None:
    names = {path.stem for path in (paths.board_configs() / "exporters").glob("*.yaml")}
    assert names == set(SAMPLES)
    assert all(
        inventory.load_board_types()[name].config.parent == paths.board_configs() for name in names
    )
