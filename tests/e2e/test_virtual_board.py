"""Real virtual boards: QEMU, Debian's kernel, labgrid's own client, and SSH with a pinned key."""

from __future__ import annotations

import hashlib
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm import image
from farm.board import payload
from farm.lab import virtual

pytestmark = pytest.mark.e2e

BIN = Path(sys.executable).parent
WAIT_S = 120.0


@dataclass
class Board:
    """A booted board: how to ask it, and what it said while it booted."""

    place: virtual.VirtualBoard
    made: image.Image
    console: str
    known_hosts: Path

    def ssh(self, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[str]:
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "HostKeyAlias": "board",
        }
        flags = [word for item in options.items() for word in ("-o", "=".join(map(str, item)))]
        done = subprocess.run(
            ["ssh", "-F", "none", "-i", self.made.client_key, *flags, "-p",
             str(self.place.ssh_port), "root@127.0.0.1", *words],
            input=data, capture_output=True, check=False, timeout=WAIT_S,
        )  # fmt: skip
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def run(self, command: str) -> str:
        done = self.ssh(command)
        assert done.returncode == 0, done.stderr
        return done.stdout


def labgrid_client(lab: virtual.VirtualLab, *words: str) -> str:
    done = subprocess.run(
        [BIN / "labgrid-client", *words],
        env={**os.environ, **lab.environment()},
        capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[virtual.VirtualLab]:
    """A lab with one board of each type, all off; state is its own, the image cache everyone's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with virtual.temporary({"virt-smmuv3": 1, "virt-noiommu": 1}) as running:
            yield running


@pytest.fixture(scope="module")
def boards(
    lab: virtual.VirtualLab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Board]]:
    """Both boards, acquired and booted by hand with labgrid-client."""
    found: dict[str, Board] = {}
    consoles: dict[str, socket.socket] = {}
    for place in lab.boards:
        consoles[place.place] = socket.create_connection(("127.0.0.1", place.serial_port), WAIT_S)
        labgrid_client(lab, "-p", place.place, "acquire")
        labgrid_client(lab, "-p", place.place, "power", "cycle")
    for place in lab.boards:
        heard = b""
        with consoles[place.place] as console:
            while b"farm: ready" not in heard:
                data = console.recv(1 << 16)
                assert data, heard[-500:]
                heard += data
        made = image.find(place.image_id)
        known_hosts = tmp_path_factory.mktemp(place.place) / "known_hosts"
        known_hosts.write_text(f"board {made.host_key}\n")
        found[place.board_type] = Board(place, made, heard.decode(errors="replace"), known_hosts)
    yield found
    for place in lab.boards:
        labgrid_client(lab, "-p", place.place, "power", "off")
        labgrid_client(lab, "-p", place.place, "release")


@pytest.fixture(params=["virt-smmuv3", "virt-noiommu"])
def board(request: pytest.FixtureRequest, boards: dict[str, Board]) -> Board:
    return boards[request.param]


def test_the_console_has_it_all_from_the_first_line(board: Board) -> None:
    assert board.console.startswith("[    0.000000] Booting Linux on physical CPU")
    assert f"Linux version {board.made.kernel_release}" in board.console
    assert f"hostname={board.place.place}" in board.console
    assert "farm: cannot" not in board.console and "did not start" not in board.console


def test_it_is_the_image_that_the_place_is_tagged_with(board: Board) -> None:
    assert board.run("cat /etc/farm/image").strip() == board.place.image_id
    assert board.run("uname -r").strip() == board.made.kernel_release
    assert board.run("hostname").strip() == board.place.place
    names = {row.package for row in board.made.packages}
    assert f"linux-image-{board.made.kernel_release}" in names


def test_the_declared_devices_are_there(board: Board) -> None:
    drivers = board.run(
        "for d in /sys/class/drm/card?; do readlink $d/device/driver; done; "
        "ls /sys/bus/platform/drivers /sys/module"
    )
    for name in ("cirrus", "bochs-drm", "virtio-pci", "vgem", "virtio_gpu", "vivid"):
        assert name in drivers
    assert len(board.run("ls /dev/dri | grep card").split()) == 4
    board.run("test -c /dev/udmabuf")
    names = board.run("cat /sys/class/video4linux/*/name").split("\n")
    for number in (0, 1):
        assert f"vivid-00{number}-vid-cap" in names
    allocators = board.run("cat /sys/module/vivid/parameters/allocators").strip()
    assert allocators.startswith("0,1")


def test_the_iommu_translates_or_is_not_there(boards: dict[str, Board]) -> None:
    with_iommu = boards["virt-smmuv3"]
    types = set(with_iommu.run("cat /sys/kernel/iommu_groups/*/type").split())
    assert types and types <= {"DMA", "DMA-FQ"}
    links = with_iommu.run(
        "for d in /sys/kernel/iommu_groups/*/devices/*; do readlink $d/iommu; done"
    )
    assert "smmu3" in links
    assert "arm-smmu-v3-evtq" in with_iommu.run("cat /proc/interrupts")
    assert boards["virt-noiommu"].run("ls /sys/kernel/iommu_groups").split() == []


def test_what_counters_need_is_there(board: Board) -> None:
    events = "/sys/kernel/tracing/events"
    for event in ("dma/dma_map_sg", "dma/dma_unmap_sg", "iommu/map", "iommu/unmap"):
        assert int(board.run(f"cat {events}/{event}/id")) > 0
    assert int(board.run("cat /sys/bus/event_source/devices/kprobe/type")) > 0
    assert "armv8_pmuv3" in board.run("ls /sys/bus/event_source/devices")
    assert board.run("cat /proc/sys/kernel/perf_event_paranoid").strip() == "-1"
    board.run("cat /sys/kernel/debug/dma_buf/bufinfo")


def test_only_the_images_key_logs_in(board: Board, tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True
    )
    stranger = image.Image(**{
        **{name: getattr(board.made, name) for name in board.made.__slots__},
        "client_key": tmp_path / "k",
    })  # fmt: skip
    done = Board(board.place, stranger, "", board.known_hosts).ssh("true")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_another_host_key_is_refused(board: Board, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    other.write_text(f"board {board.made.host_key[:-8]}{'A' * 8}\n")
    done = Board(board.place, board.made, "", other).ssh("true")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_files_go_over_byte_for_byte(board: Board) -> None:
    data = bytes(range(256)) * 4096
    assert board.ssh("cat > /tmp/file", data=data).returncode == 0

    assert board.run("sha256sum /tmp/file").split()[0] == hashlib.sha256(data).hexdigest()
    board.run("test -x /usr/lib/sftp-server")


def test_the_payload_reads_its_clock_without_a_system_call(board: Board) -> None:
    data = payload.build().path.read_bytes()
    assert board.ssh("cat > /tmp/payload && chmod +x /tmp/payload", data=data).returncode == 0
    assert "# outcome pass" in board.run("/tmp/payload run self_clock")


def test_the_board_reaches_nothing_but_its_forwarded_port(board: Board) -> None:
    """QEMU's user network answers for the host at 10.0.2.2; here somebody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # whoever may, gets through
        listening.accept()[0].close()
        board.run("command -v nc")
        assert board.ssh(f"nc -w 2 10.0.2.2 {port} < /dev/null").returncode != 0
        listening.settimeout(0)
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert board.ssh("ip route | grep default").returncode != 0


def test_labgrid_clients_console_is_one_to_type_at(lab: virtual.VirtualLab, board: Board) -> None:
    ours, theirs = pty.openpty()

    def read_until(wanted: bytes) -> bytes:
        heard = b""
        while wanted not in heard:
            try:
                heard += os.read(ours, 4096)
            except OSError as error:
                raise AssertionError(f"the console ended after {heard!r}") from error
        return heard

    console = subprocess.Popen(
        [BIN / "labgrid-client", "-p", board.place.place, "console"],
        env={**os.environ, **lab.environment()},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        read_until(b"Escape character")
        for number in range(3):
            os.write(ours, f"echo typed-$(({number} + 20))\r".encode())
            heard = read_until(f"typed-{number + 20}".encode())
            assert b"not found" not in heard and b"Incomplete" not in heard
        os.write(ours, b"\x1c")  # microcom's menu
        read_until(b"> ")
        os.write(ours, b"quit\r")
        assert console.wait(WAIT_S) == 0
    finally:
        os.close(ours)
        console.kill()
        console.wait()


def test_a_panic_is_on_the_console_and_a_power_cycle_helps(
    lab: virtual.VirtualLab, boards: dict[str, Board]
) -> None:
    board = boards["virt-noiommu"]
    with socket.create_connection(("127.0.0.1", board.place.serial_port), WAIT_S) as console:
        console.sendall(b"\nsync; echo c > /proc/sysrq-trigger\n")
        heard = b""
        while b"end Kernel panic" not in heard:
            data = console.recv(1 << 16)
            assert data, heard[-500:]
            heard += data
        assert b"Kernel panic - not syncing: sysrq triggered crash" in heard
        labgrid_client(lab, "-p", board.place.place, "power", "cycle")
        heard = b""
        while b"farm: ready" not in heard:
            data = console.recv(1 << 16)
            assert data, heard[-500:]
            heard += data
    assert float(board.run("cut -d ' ' -f 1 /proc/uptime")) < WAIT_S
