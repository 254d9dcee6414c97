"""A board that has nothing but SSH: a virtual one whose outlet and serial port are not exported.

The lab's rack plays the shelf: it switches the board on once, as a hand would. A second exporter
offers the board's SSH service only, under a config that is the sample ``generic-ssh`` with the
board's name, devices and keys filled in.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import own_igt
import pytest

from farm import events, image
from farm.board.ssh import SshAddress, SshLink
from farm.lab.coordinator import Coordinator
from farm.model import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SUITE = ROOT / "tests" / "support" / "faulty" / "faulty_suite.py"
BOOT_S = 120.0
TYPE = "my-board"
PLACE = "my-board-1"
DEVICES = """\
  devices:
    - {id: cirrus, kind: drm, driver: cirrus, address: 'drm:cirrus,cirrus-qemu',
       exports: true, imports: true, iommu: true, control: true}
"""


@dataclass
class Shelf:
    """A farm whose lab has one board with SSH only, and the project that describes it."""

    farm: Any
    project: Path
    coordinator: str
    board: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.project / "board-configs" / f"{TYPE}.yaml"

    def link(self) -> SshLink:
        """Return an SSH connection with the board, as its owner has one."""
        made = image.find(self.board["image_id"])
        port = self.board["ssh_port"]
        link = SshLink(SshAddress("127.0.0.1", port, "root", made.client_key, made.host_key))
        deadline = time.monotonic() + BOOT_S
        while not link.dial(10):
            assert time.monotonic() < deadline, f"no SSH within {BOOT_S:g} s"
            time.sleep(0.2)
        link.connect(BOOT_S)
        return link

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def journal(self, done: dict[str, Any]) -> list[events.Event]:
        (job,) = done["jobs"]
        return list(events.read_journal(Path(job["journal"])))


def project_for(folder: Path, board: dict[str, Any]) -> Path:
    """Write the project of whoever owns the board: the sample config, filled in."""
    project = folder / "project"
    shutil.copytree(ROOT / "board-configs", project / "board-configs")
    (project / "testsuites").symlink_to(ROOT / "testsuites")
    made = image.find(board["image_id"])
    key = folder / "lab_key"
    shutil.copy(made.client_key, key)
    key.chmod(0o600)
    known_hosts = project / "board-configs" / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{board['ssh_port']} {made.host_key}\n")
    text = (project / "board-configs" / "generic-ssh.yaml").read_text()
    for old, new in (
        ("board_type: generic-ssh", f"board_type: {TYPE}"),
        ("key: ~/.ssh/id_ed25519", f"key: {key}"),
        ("known_hosts: ~/.ssh/known_hosts", "known_hosts: known_hosts"),
        ("features: []", "features: [gpu, iommu]\n  iommu: arm-smmu-v3"),
    ):
        assert old in text
        text = text.replace(old, new)
    head, _, _ = text.partition("  devices: []")
    (project / "board-configs" / f"{TYPE}.yaml").write_text(head + DEVICES)
    return project


@pytest.fixture
def shelf(own_farm: Any) -> Iterator[Shelf]:
    lab = own_farm.json("lab", "up", "--boards", "virt-smmuv3=1")["lab"]
    (board,) = lab["boards"]
    put = urllib.request.Request(board["power_url"], data=b"1", method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(put).close()
    project = project_for(own_farm.folder, board)
    own_farm.variables |= {"FARM_ROOT": str(project), "LG_COORDINATOR": lab["coordinator"]}
    exports = own_farm.folder / "exporter.yaml"
    exports.write_text(
        f"{PLACE}:\n"
        f"  NetworkService: {{address: 127.0.0.1, username: root, port: {board['ssh_port']}}}\n"
    )
    exporter = subprocess.Popen(
        [BIN / "labgrid-exporter", "-c", lab["coordinator"], "-n", "shelf", str(exports)],
        env=own_farm.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Coordinator(lab["coordinator"], "desk/keeper") as client:
            client.add_place(PLACE)
            client.add_match(PLACE, f"shelf/{PLACE}/*")
            client.set_tags(PLACE, {"board_type": TYPE, "hw_serial": "0001"})
            assert client.wait_for(lambda places: places[PLACE].online, 60)
        yield Shelf(own_farm, project, lab["coordinator"], board)
    finally:
        exporter.terminate()
        exporter.wait()


def test_a_run_on_a_board_that_nothing_can_switch(shelf: Shelf) -> None:
    rows = {row["board"]: row for row in shelf.farm.json("boards")["boards"]}
    assert rows[PLACE]["state"] == "free"
    assert rows[PLACE]["notes"] == ["no power control", "no console"]
    done = shelf.farm.json("run", "mapcache", "sharing", "--board", TYPE)
    (job,) = done["jobs"]
    assert (done["exit"], job["board"], job["image"]) == (0, PLACE, "installed")
    assert job["verdicts"]["PASS"] > 5
    assert set(job["verdicts"]) <= {"PASS", "SKIP"}
    found = shelf.journal(done)
    (ready,) = (event for event in found if isinstance(event, events.BoardReady))
    started = found[0]
    assert isinstance(started, events.JobStarted)
    assert started.hardware == {"serial": "0001"}
    assert not any(
        isinstance(event, events.Artifact) and "console" in event.kind for event in found
    )
    # The board was left on: the next run finds it, in the same boot.
    again = shelf.journal(
        shelf.farm.json("run", "mapcache", "-k", "second_import", "--board", TYPE)
    )
    (later,) = (event for event in again if isinstance(event, events.BoardReady))
    assert later.topology["board"]["boot_id"] == ready.topology["board"]["boot_id"]


SKIPS = """\
# An emulated igt_runner takes seconds for each subtest, and none is different from the next.
igt:cirrus:(?!core_getclient|kms_addfb_basic).*
igt:cirrus:kms_addfb_basic@(?!unused-handle$|size-max$|basic-y-tiled-legacy$).*
"""
FAILS = """\
# It wants a frame buffer 2048 lines high, and cirrus takes 1024 (testsuites/external/expectations).
igt:cirrus:kms_addfb_basic@size-max,Fail
"""


@pytest.mark.slow  # it fetches packages of 70 MB first
def test_igt_of_the_boards_own_is_run_by_its_igt_runner(shelf: Shelf, tmp_path: Path) -> None:
    with contextlib.closing(shelf.link()) as link:
        own_igt.install(link, tmp_path)
    shelf.edit("features: [gpu, iommu]", "features: [gpu, iommu, igt]")
    suites = shelf.project / "testsuites"
    suites.unlink()
    shutil.copytree(ROOT / "testsuites", suites)
    lists = suites / "external" / "expectations"
    (lists / f"{TYPE}-skips.txt").write_text(SKIPS)
    (lists / f"{TYPE}-fails.txt").write_text(FAILS)

    done = shelf.farm.json("run", "external/test_igt.py", "-k", "cirrus", "--board", TYPE)
    assert done["exit"] == 0, done
    cases = shelf.farm.json("show", done["run"])["cases"]
    assert {case["params"].get("within", ""): case["verdict"] for case in cases} == {
        "": "PASS",
        "core_getclient@basic": "PASS",
        "kms_addfb_basic@unused-handle": "PASS",
        "kms_addfb_basic@size-max": "XFAIL",
        "kms_addfb_basic@basic-y-tiled-legacy": "SKIP",
    }
    (job,) = done["jobs"]
    printed = Path(job["journal"]).parent / "external" / "igt_cirrus_kms_addfb_basic.log"
    results = json.loads(printed.read_text())
    assert results["cmdline"][0].endswith("igt_runner")
    assert len(results["tests"]) == 3


def test_recovery_without_power_control(shelf: Shelf, tmp_path: Path) -> None:
    with Coordinator(shelf.coordinator, "desk/engineer") as client:
        client.acquire(PLACE)
        out = tmp_path / "out"
        config = tmp_path / f"{TYPE}.yaml"
        config.write_text(
            shelf.config.read_text()
            .replace("name: '+'", f"name: {PLACE}")
            .replace("known_hosts: known_hosts", f"known_hosts: {shelf.config.parent}/known_hosts")
        )
        words = ["--lg-env", str(config), "--farm-out", str(out), "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, str(SUITE),
             "-k", "passes or runs_commands or warns or resets or never_runs or loses_the_link"],
            env={**shelf.farm.variables, "LG_HOSTNAME": "desk", "LG_USERNAME": "engineer"},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    finished = [event for event in found if isinstance(event, events.CaseFinished)]
    seen = [
        (event.nodeid.partition("::test_")[2], event.attempt, event.verdict) for event in finished
    ]
    assert seen == [
        ("passes[cirrus]", 1, Verdict.PASS),
        ("warns", 1, Verdict.FAIL),  # dmesg says so
        ("warns_on_purpose", 1, Verdict.PASS),
        ("runs_commands", 1, Verdict.ERROR),
        ("resets", 1, Verdict.INFRA),  # nobody saw why it was silent
        ("resets", 2, Verdict.FAIL),  # and again
        ("loses_the_link", 1, Verdict.INFRA),
        ("loses_the_link", 2, Verdict.FAIL),
        ("never_runs", 1, Verdict.INFRA),
    ], "\n".join(f"{event.nodeid} {event.verdict}: {event.reason[:300]}" for event in finished)
    assert any("drivers/dma-buf/farm.c:1" in line for line in finished[1].console)
    boots = [event for event in found if isinstance(event, events.BoardReady)]
    assert len({boot.topology["board"]["boot_id"] for boot in boots}) == len(boots) == 4
    assert "has no console to say why" in finished[4].reason
    assert "3 reboots are used up" in finished[-1].reason


def test_a_board_that_died_is_told_as_what_nobody_here_can_help(shelf: Shelf) -> None:
    shelf.edit("boot_s: 180", "boot_s: 4")
    _switch_off(shelf)
    done = shelf.farm.json("run", "mapcache", "-k", "second_import", "--board", TYPE)
    assert done["exit"] == 3
    reasons = [
        event.reason for event in shelf.journal(done) if isinstance(event, events.CaseFinished)
    ]
    assert "no SSH within 4 s of the first try (nothing here can switch its power on)" in reasons[0]


def _switch_off(shelf: Shelf) -> None:
    (lab,) = shelf.farm.json("lab", "status")["labs"]
    put = urllib.request.Request(lab["boards"][0]["power_url"], data=b"0", method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(put).close()
