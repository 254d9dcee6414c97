"""The rack over a scripted board and over a real QEMU: the same tests."""

from __future__ import annotations

import hashlib
import os
import random
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from labgrid import Target
from labgrid.driver import NetworkPowerDriver
from labgrid.resource.power import NetworkPowerPort
from racks import WAIT_S, RunningRack, end_rack, real_spec, scripted_path, spec, start_rack

from farm.lab.faults import Fault

READY = b"farm: ready"


@pytest.fixture(params=["scripted", pytest.param("qemu", marks=pytest.mark.e2e)])
def rack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningRack]:
    """A rack with two boards, off."""
    if request.param == "scripted":
        path = scripted_path(tmp_path / "bin")
        boards = (spec("board-1"), spec("board-2"))
    else:
        path = os.environ["PATH"]
        boards = (real_spec("board-1"), real_spec("board-2"))
    running = start_rack(tmp_path, boards, path)
    yield running
    end_rack(running)
    assert running.process.returncode == 0


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[RunningRack]:
    """A rack with one scripted board, one that QEMU refuses, and one that does not boot."""
    boards = (
        spec("board-1"),
        spec("board-2", machine="no-such-machine"),
        spec("board-3", fault=Fault.NO_BOOT),
    )
    running = start_rack(tmp_path, boards, scripted_path(tmp_path / "bin"))
    yield running
    end_rack(running)


def read_until(stream: socket.socket, wanted: bytes) -> bytes:
    got = b""
    while wanted not in got:
        data = stream.recv(1 << 16)
        assert data, f"closed after {got[-200:]!r}"
        got += data
    return got


def closed(stream: socket.socket) -> bool:
    """Read to the end; tell whether the other side closed or reset."""
    try:
        while stream.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def said_until(stream: socket.socket, other: socket.socket, wanted: bytes) -> bytes:
    """Return what ``stream`` has to read once ``other`` has said ``wanted``."""
    read_until(other, wanted)
    stream.setblocking(False)
    try:
        return stream.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_labgrid_switches_the_outlet(rack: RunningRack) -> None:
    target = Target("board")
    NetworkPowerPort(
        target,
        name=None,
        model="rest",
        index=1,
        host=rack.url(0, "power").replace("/0/", "/{index}/"),
    )
    driver = NetworkPowerDriver(target, name=None, delay=0.0)
    target.activate(driver)
    assert driver.get() is False
    driver.on()
    assert driver.get() is True
    driver.cycle()
    assert driver.get() is True
    driver.off()
    assert driver.get() is False
    assert requests.get(rack.url(0, "power"), timeout=WAIT_S).text == "0"


def test_every_reader_sees_the_whole_boot_and_anyone_types(rack: RunningRack) -> None:
    with rack.serial(0) as one, rack.serial(0) as two:
        rack.power(0, True)
        first, second = read_until(one, READY), read_until(two, READY)
        common = min(len(first), len(second))
        assert first[:common] == second[:common]
        assert first.startswith(b"[    0.000000] ")
        two.sendall(b"\necho typed-$((20 + 3))\n")
        assert b"typed-" in read_until(one, b"typed-")


def test_the_serial_port_outlives_power_cycles(rack: RunningRack) -> None:
    with rack.serial(0) as reader:
        for _ in range(2):
            rack.power(0, True)
            read_until(reader, READY)
            rack.power(0, False)
            rack.power(0, False)


def test_ssh_is_there_with_the_board_and_gone_with_it(rack: RunningRack) -> None:
    with rack.ssh(0) as nobody:
        assert closed(nobody)
    with rack.serial(0) as reader:
        rack.power(0, True)
        read_until(reader, READY)
    with rack.ssh(0) as connection:
        assert read_until(connection, b"\r\n").startswith(b"SSH-2.0-")
        rack.power(0, False)
        assert closed(connection)


def test_a_dropped_link_ends_open_connections_only(rack: RunningRack) -> None:
    with rack.serial(0) as reader:
        rack.power(0, True)
        read_until(reader, READY)
    with rack.ssh(0) as connection:
        read_until(connection, b"SSH-2.0-")
        rack.fault(0, Fault.LINK_DROP)
        assert closed(connection)
    with rack.ssh(0) as connection:
        read_until(connection, b"SSH-2.0-")


def test_a_frozen_board_says_nothing_until_its_power_is_cut(rack: RunningRack) -> None:
    with rack.serial(0) as reader, rack.serial(1) as other:
        rack.power(0, True)
        read_until(reader, READY)
        rack.fault(0, Fault.FREEZE)
        reader.sendall(b"\necho still-alive\n")
        rack.power(1, True)
        assert b"still-alive" not in said_until(reader, other, READY)
        reader.setblocking(True)
        rack.power(0, False)
        rack.power(0, True)
        read_until(reader, READY)


def test_ssh_faults_last_until_healed(scripted: RunningRack) -> None:
    scripted.power(0, True)
    scripted.fault(0, Fault.SSH_REFUSE)
    with scripted.ssh(0) as refused:
        assert closed(refused)
    scripted.fault(0, Fault.SSH_STALL)
    assert requests.get(scripted.url(0, "fault"), timeout=WAIT_S).text == "ssh-stall"
    with scripted.ssh(0) as stalled, scripted.serial(0) as serial:
        serial.sendall(b"by-now\n")
        assert not said_until(stalled, serial, b"by-now")
        scripted.fault(0, Fault.NONE)
        stalled.setblocking(True)
        read_until(stalled, b"SSH-2.0-")


def test_garbage_comes_between_what_the_board_says(scripted: RunningRack) -> None:
    scripted.fault(0, Fault.SERIAL_GARBAGE)
    with scripted.serial(0) as reader:
        scripted.power(0, True)
        got = read_until(reader, READY)
    assert not got.startswith(b"[    0.000000] ")


def test_what_the_board_says_comes_one_byte_at_a_time(scripted: RunningRack) -> None:
    scripted.fault(0, Fault.SERIAL_BYTES)
    with scripted.serial(0) as reader:
        scripted.power(0, True)
        got = read_until(reader, READY)
    assert got.startswith(b"[    0.000000] line 0 of the boot log\r\n[    0.001000] line 1 ")


def test_serial_connections_are_cut_every_so_many_bytes(scripted: RunningRack) -> None:
    scripted.put(0, "fault", "serial-drop:1000").raise_for_status()
    with scripted.serial(0) as reader:
        scripted.power(0, True)
        assert closed(reader)
    scripted.fault(0, Fault.NONE)
    with scripted.serial(0) as reader:
        reader.sendall(b"here again\n")
        read_until(reader, b"here again")


@pytest.mark.parametrize(("fault", "says"), [("outlet-stuck", "0"), ("outlet-lies", "1")])
def test_an_outlet_that_obeys_in_words(scripted: RunningRack, fault: str, says: str) -> None:
    scripted.put(0, "fault", fault).raise_for_status()
    with scripted.serial(0) as dead, scripted.serial(2) as other:
        scripted.power(0, True)
        assert requests.get(scripted.url(0, "power"), timeout=WAIT_S).text == says
        scripted.fault(2, Fault.NONE)
        scripted.power(2, True)
        assert not said_until(dead, other, READY)
    scripted.fault(0, Fault.NONE)
    with scripted.serial(0) as reader:
        scripted.power(0, True)
        read_until(reader, READY)
    scripted.put(0, "fault", fault).raise_for_status()
    with scripted.serial(0) as reader:
        scripted.power(0, False)
        reader.sendall(b"still on\n")
        read_until(reader, b"still on")


def test_ssh_connections_are_cut_some_time_after_they_were_used(scripted: RunningRack) -> None:
    scripted.put(0, "fault", "ssh-close:0.2").raise_for_status()
    scripted.power(0, True)
    with scripted.ssh(0) as unused, scripted.ssh(0) as used:
        read_until(unused, b"SSH-2.0-")
        read_until(used, b"SSH-2.0-")
        used.sendall(b"hello")
        assert closed(used)
        unused.setblocking(False)
        with pytest.raises(BlockingIOError):
            unused.recv(100)


def test_a_board_hangs_some_time_after_ssh_was_used(scripted: RunningRack) -> None:
    scripted.put(0, "fault", "hang:3").raise_for_status()
    scripted.power(0, True)
    scripted.power(1, False)
    with scripted.ssh(0) as connection:
        read_until(connection, b"SSH-2.0-")
        connection.sendall(b"ping")
        read_until(connection, b"ping")
        connection.settimeout(1.0)
        alive = True
        while alive:
            connection.sendall(b"ping")
            try:
                connection.recv(100)
            except TimeoutError:
                alive = False


def test_a_kernel_panic_is_typed_on_the_serial_line(scripted: RunningRack) -> None:
    scripted.put(0, "fault", "panic:0").raise_for_status()
    with scripted.serial(0) as reader:
        scripted.power(0, True)
        read_until(reader, READY)
        with scripted.ssh(0) as connection:
            read_until(connection, b"SSH-2.0-")
            connection.sendall(b"x")
            read_until(reader, b"echo c > /proc/sysrq-trigger")


def test_a_board_that_does_not_boot_has_power_and_is_silent(scripted: RunningRack) -> None:
    with scripted.serial(2) as dead, scripted.serial(0) as other:
        scripted.power(2, True)
        scripted.power(0, True)
        assert not said_until(dead, other, READY)
    assert requests.get(scripted.url(2, "power"), timeout=WAIT_S).text == "1"


def test_a_machine_that_qemu_refuses_is_told_with_its_words(scripted: RunningRack) -> None:
    answer = scripted.put(1, "power", "1")
    assert answer.status_code == 500
    assert "unsupported machine type" in answer.text
    assert requests.get(scripted.url(1, "power"), timeout=WAIT_S).text == "0"


def test_an_archive_is_appended_to_the_image_from_the_next_power_on_on(
    scripted: RunningRack, tmp_path: Path
) -> None:
    archive = os.urandom(100_000)
    url = scripted.url(0, "archive")
    assert requests.get(url, timeout=WAIT_S).text == "none"
    answer = requests.put(url, data=archive, timeout=WAIT_S)
    assert answer.text == hashlib.sha256(archive).hexdigest()
    scripted.power(0, True)
    assert (tmp_path / "initrd-board-1").read_bytes() == archive  # the image's own is empty
    scripted.power(0, False)
    assert requests.put(url, data=b"", timeout=WAIT_S).text == "none"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/boards/0/power", "2", 400),
        ("PUT", "/boards/0/power", "", 400),
        ("PUT", "/boards/0/fault", "fire", 400),
        ("PUT", "/boards/0/fault", "hang:soon", 400),
        ("PUT", "/boards/9/power", "1", 404),
        ("GET", "/", "", 404),
        ("POST", "/boards/0/power", "1", 405),
        ("PUT", "/boards/0/power", "1" * 5000, 413),
    ],
)
def test_wrong_requests_switch_nothing(
    scripted: RunningRack, method: str, path: str, body: str, status: int
) -> None:
    url = f"http://127.0.0.1:{scripted.outlets.http}{path}"
    assert requests.request(method, url, data=body, timeout=WAIT_S).status_code == status
    assert requests.get(scripted.url(0, "power"), timeout=WAIT_S).text == "0"


def test_garbage_on_the_outlet_port_is_survived(scripted: RunningRack) -> None:
    noise = random.Random(7)
    port = scripted.outlets.http
    for size in (1, 3, 200, 100_000):
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
            try:
                connection.sendall(noise.randbytes(size) + b"\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                continue  # it was cut off in the middle, which is fine
            assert closed(connection)
    assert requests.get(scripted.url(0, "power"), timeout=WAIT_S).text == "0"


def test_boards_die_with_a_killed_rack(rack: RunningRack) -> None:
    with rack.serial(0) as reader:
        rack.power(0, True)
        read_until(reader, READY)
        listed = subprocess.run(
            ["ps", "--ppid", str(rack.process.pid), "-o", "pid="],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        (board,) = [os.pidfd_open(int(word)) for word in listed.stdout.split()]
        rack.process.kill()
        rack.process.wait()
        try:
            poller = select.poll()
            poller.register(board, select.POLLIN)
            assert poller.poll(WAIT_S * 1000), "the board outlived its rack"
        finally:
            os.close(board)
    rack.process.returncode = 0  # what the fixture expects of a rack that ended in order
