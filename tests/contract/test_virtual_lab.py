"""Virtual labs with labgrid's real coordinator and exporter; the boards are scripted."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from farm.errors import LabError, UsageError
from farm.lab import files, virtual
from farm.lab.coordinator import Coordinator
from farm.lab.faults import Fault
from farm.lab.health import HealthBook
from farm.lab.records import start_time

BIN = Path(sys.executable).parent
WAIT_S = 60.0


def pids(name: str) -> dict[str, int]:
    record = files.load(name)
    assert record is not None
    return {process.role: process.pid for process in record.processes}


class Gone:
    """Processes that are expected to end: watched from before, waited for after."""

    def __init__(self, numbers: list[int]) -> None:
        self.descriptors = [os.pidfd_open(number) for number in numbers]

    def wait(self) -> bool:
        try:
            for descriptor in self.descriptors:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                if not poller.poll(WAIT_S * 1000):
                    return False
            return True
        finally:
            for descriptor in self.descriptors:
                os.close(descriptor)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def client(lab: virtual.VirtualLab) -> Coordinator:
    return Coordinator(lab.coordinator, f"testhost/test-{os.getpid()}")


def labgrid_client(lab: virtual.VirtualLab, *words: str) -> str:
    done = subprocess.run(
        [BIN / "labgrid-client", *words],
        env={**os.environ, **lab.environment()},
        capture_output=True, text=True, check=True, timeout=WAIT_S,
    )  # fmt: skip
    return done.stdout


def test_a_lab_has_tagged_places_with_all_their_resources(scripted: Path) -> None:
    lab = virtual.up("one", {"virt-smmuv3": 2, "virt-noiommu": 1})
    assert [board.place for board in lab.boards] == [
        "virt-smmuv3-1", "virt-smmuv3-2", "virt-noiommu-1",
    ]  # fmt: skip
    with client(lab) as coordinator:
        place = coordinator.place("virt-smmuv3-2")
    assert place.online and place.free
    assert {resource.cls for resource in place.resources} == {
        "NetworkPowerPort", "NetworkSerialPort", "NetworkService",
    }  # fmt: skip
    tags = dict(place.tags)
    assert tags.pop("hw_model").startswith("cortex-a57-")
    assert tags == {
        "board_type": "virt-smmuv3",
        "image": "debian-13",
        "image_id": "0123456789abcdef",
        "virtual": "yes",
        "hw_emulator": "qemu-0.0.1",
    }


def test_labgrid_client_drives_a_board_by_hand(scripted: Path) -> None:
    lab = virtual.up("hand", {"virt-noiommu": 1})
    place = "virt-noiommu-1"
    assert place in labgrid_client(lab, "places")
    assert f"rack/{place}/NetworkSerialPort" in labgrid_client(lab, "resources")
    labgrid_client(lab, "-p", place, "acquire")
    assert place in labgrid_client(lab, "who")
    labgrid_client(lab, "-p", place, "power", "on")
    assert "is on" in labgrid_client(lab, "-p", place, "power", "get")
    labgrid_client(lab, "-p", place, "power", "off")
    labgrid_client(lab, "-p", place, "release")
    assert place not in labgrid_client(lab, "who")


def test_down_leaves_no_process_and_no_state(scripted: Path) -> None:
    lab = virtual.up("tidy", {"virt-noiommu": 1})
    requests.put(lab.boards[0].power_url, data="1", timeout=WAIT_S).raise_for_status()
    roles = pids("tidy")
    assert set(roles) == {"supervisor", "coordinator", "rack", "exporter"}
    gone = Gone([*roles.values(), *children(roles["rack"])])
    assert virtual.down("tidy") is True
    assert gone.wait()
    assert virtual.status("tidy") is None
    assert virtual.down("tidy") is False


def test_a_killed_supervisor_takes_everything_with_it(scripted: Path) -> None:
    lab = virtual.up("killed", {"virt-noiommu": 1})
    requests.put(lab.boards[0].power_url, data="1", timeout=WAIT_S).raise_for_status()
    roles = pids("killed")
    gone = Gone([*roles.values(), *children(roles["rack"])])
    os.kill(roles["supervisor"], signal.SIGKILL)
    assert gone.wait()
    dead = virtual.status("killed")
    assert dead is not None and dead.state == "dead" and not dead.is_up
    with pytest.raises(LabError, match="is dead"):
        virtual.environment("killed")
    assert virtual.up("killed", {"virt-noiommu": 1}).is_up
    assert virtual.down("killed") is True


@pytest.mark.parametrize("role", ["coordinator", "rack", "exporter"])
def test_a_part_that_dies_fails_the_lab_with_a_reason(scripted: Path, role: str) -> None:
    virtual.up("broken", {"virt-noiommu": 1})
    roles = pids("broken")
    gone = Gone(list(roles.values()))
    os.kill(roles[role], signal.SIGKILL)
    assert gone.wait()
    lab = virtual.status("broken")
    assert lab is not None and lab.state == "failed"
    assert f"{role} ended by itself" in lab.reason


def test_two_labs_side_by_side(scripted: Path) -> None:
    first = virtual.up("left", {"virt-noiommu": 1})
    second = virtual.up("right", {"virt-noiommu": 1})
    assert first.coordinator != second.coordinator
    requests.put(first.boards[0].power_url, data="1", timeout=WAIT_S).raise_for_status()
    assert requests.get(second.boards[0].power_url, timeout=WAIT_S).text == "0"
    assert [lab.name for lab in virtual.labs()] == ["left", "right"]
    virtual.down("left")
    with client(second) as coordinator:
        assert coordinator.place("virt-noiommu-1").online


def test_up_again_is_the_same_lab_and_other_boards_are_refused(scripted: Path) -> None:
    lab = virtual.up("again", {"virt-noiommu": 1})
    assert virtual.up("again", {"virt-noiommu": 1}) == lab
    with pytest.raises(UsageError, match="other boards"):
        virtual.up("again", {"virt-noiommu": 2})


def test_a_temporary_lab_ends_with_its_block(scripted: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    faults = {"virt-noiommu-1": Fault.NO_BOOT}
    with virtual.temporary({"virt-noiommu": 1}, faults=faults, logs=logs) as lab:
        gone = Gone(list(pids(lab.name).values()))
        assert requests.get(lab.boards[0].fault_url, timeout=WAIT_S).text == "no-boot"
        HealthBook(lab.coordinator).quarantine("virt-noiommu-1", "smells")
    assert gone.wait()
    assert HealthBook(lab.coordinator).quarantined("virt-noiommu-1") is None
    assert "listening on" in (logs / "coordinator.log").read_text()
    assert virtual.labs() == []


def test_a_temporary_lab_ends_with_its_killed_starter(scripted: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable, "-c",
            "import threading; from farm.lab import virtual\n"
            "with virtual.temporary({'virt-noiommu': 1}) as lab:\n"
            "    print(lab.name, flush=True); threading.Event().wait()",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert starter.stdout is not None
    name = starter.stdout.readline().strip()
    gone = Gone(list(pids(name).values()))
    starter.kill()
    starter.communicate()
    assert gone.wait()


def test_a_client_that_stays_connected_does_not_hold_up_down(scripted: Path) -> None:
    lab = virtual.up("held", {"virt-noiommu": 1})
    with client(lab) as coordinator:
        coordinator.acquire("virt-noiommu-1")
        gone = Gone(list(pids("held").values()))
        virtual.down("held")
        assert gone.wait()
        assert coordinator.lost.wait(WAIT_S)


def test_down_never_ends_a_process_that_took_over_a_pid(scripted: Path) -> None:
    virtual.up("reused", {"virt-noiommu": 1})
    bystander = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    record = files.load("reused")
    assert record is not None
    forged = files.Process(role="rack", pid=bystander.pid, started=start_time(bystander.pid) - 1)
    files.save(record.model_copy(update={"processes": (*record.processes, forged)}))
    virtual.down("reused")
    assert bystander.poll() is None
    bystander.communicate()


def test_two_starters_of_one_name_get_one_lab(scripted: Path) -> None:
    got: list[virtual.VirtualLab] = []
    starters = [
        threading.Thread(target=lambda: got.append(virtual.up("both", {"virt-noiommu": 1})))
        for _ in range(2)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(got) == 2 and got[0] == got[1]


def test_a_lab_that_is_ended_while_it_starts_says_so(scripted: Path) -> None:
    caught: list[LabError] = []

    def start() -> None:
        try:
            virtual.up("crossed", {"virt-noiommu": 1})
        except LabError as error:
            caught.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    pause = threading.Event()
    while (record := files.load("crossed")) is None or not record.processes:
        pause.wait(0.01)
    virtual.down("crossed")
    starter.join()
    assert [error.message for error in caught] == [
        "virtual lab 'crossed' was ended while it started"
    ]
    assert str(scripted) not in caught[0].next_step


def test_no_qemu_is_one_sentence_and_a_next_step(
    scripted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(scripted / "nowhere"))
    with pytest.raises(LabError, match="qemu-system-aarch64 is not installed") as caught:
        virtual.up("none", {"virt-noiommu": 1})
    assert caught.value.exit_code == 3
    assert "apt install qemu-system-arm" in caught.value.next_step


@pytest.mark.parametrize(
    ("boards", "seen"), [({"virt-nope": 1}, "virt-nope"), ({"virt-noiommu": 0}, "0 boards")]
)
def test_wrong_boards_are_a_usage_error(scripted: Path, boards: dict[str, int], seen: str) -> None:
    with pytest.raises(UsageError, match=seen):
        virtual.up("wrong", boards)
    assert virtual.status("wrong") is None


def test_a_wrong_name_is_a_usage_error(scripted: Path) -> None:
    with pytest.raises(UsageError, match="lab name"):
        virtual.up("../else", {"virt-noiommu": 1})


def test_the_command_line_from_up_to_down(scripted: Path) -> None:
    def farm(*words: str, code: int = 0, said: str = "", **env: str) -> dict[str, object]:
        done = subprocess.run(
            [BIN / "farm", *words],
            capture_output=True, text=True, check=False, timeout=WAIT_S, env={**os.environ, **env},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        return dict(json.loads(done.stdout)) if "--json" in words else {"text": done.stdout}

    name = ("--name", "cli")
    made = farm("lab", "up", *name, "--boards", "virt-noiommu=1", "--json")
    assert made["schema"] == 1
    assert made["lab"]["state"] == "up"  # type: ignore[index]
    text = str(farm("lab", "env", *name)["text"])
    assert f"export LG_COORDINATOR={made['lab']['coordinator']}" in text  # type: ignore[index]
    assert len(farm("lab", "status", "--json")["labs"]) == 1  # type: ignore[arg-type]
    assert farm("lab", "down", *name, "--json")["ended"] is True
    farm("lab", "status", *name, "--json", code=3)
    farm("lab", "env", *name, code=3)
    farm("lab", "up", *name, "--boards", "x=y", code=2)

    # The variables of a shell that was told of the lab outlive it.
    shell = dict(re.findall(r"^export (FARM_LAB|LG_COORDINATOR)=(.*)$", text, re.M))
    farm("boards", code=3, said="unset LG_COORDINATOR FARM_LAB", **shell)
    farm("boards", "--coordinator", "127.0.0.1:1", code=3, said="at 127.0.0.1:1", **shell)
    farm("lab", "up", *name, "--boards", "virt-noiommu=1")
    (board,) = farm("boards", "--json", said="farm lab env --name cli", **shell)["boards"]  # type: ignore[misc,attr-defined]
    assert board["board"] == "virt-noiommu-1"
