"""The console recorder on a TCP serial port, and labgrid's serial driver behind it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
import serial.rfc2217
from labgrid import Target
from labgrid.resource import NetworkSerialPort

from farm.board import ports
from farm.board.console import ConsoleEvent
from farm.board.labgrid import RecordedSerialDriver
from farm.board.recorder import ConsoleRecorder

PANIC = b"[    9.0] Kernel panic - not syncing: test\r\n"


class SerialServer:
    """A raw TCP serial port of a board."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port: int = self.listener.getsockname()[1]
        self.client: socket.socket | None = None

    def accept(self) -> socket.socket:
        if self.client is not None:
            self.client.close()
        self.client, _ = self.listener.accept()
        self.client.settimeout(20)
        return self.client

    def close(self) -> None:
        for one in (self.client, self.listener):
            if one is not None:
                one.close()


@pytest.fixture
def board() -> Iterator[SerialServer]:
    made = SerialServer()
    yield made
    made.close()


@pytest.fixture
def recorder(board: SerialServer, tmp_path: Path) -> Iterator[ConsoleRecorder]:
    made = ConsoleRecorder(
        lambda: ports.open_tcp("127.0.0.1", board.port), tmp_path, clock=lambda: 1_700_000_000.25
    )
    made.start(20)
    board.accept()
    yield made
    made.stop()


def anything(event: ConsoleEvent) -> bool:
    return True


def said(board: SerialServer, recorder: ConsoleRecorder, data: bytes) -> ConsoleEvent:
    """Have the board say something that ends in a complaint, and wait until it is recorded."""
    assert board.client is not None
    mark = recorder.mark()
    board.client.sendall(data + PANIC)
    event = recorder.wait_event(mark, anything, 20)
    assert event is not None
    return event


def test_lines_with_time_and_raw_bytes(board: SerialServer, recorder: ConsoleRecorder) -> None:
    event = said(board, recorder, b"hello \x1b[1mworld\r\n\xff\r\n")
    assert (event.pattern, event.line_number) == ("panic", 2)
    recorder.stop()
    assert recorder.raw.read_bytes() == b"hello \x1b[1mworld\r\n\xff\r\n" + PANIC
    assert recorder.log.read_text().splitlines() == [
        "2023-11-14T22:13:20.250+00:00 hello \\x1b[1mworld",
        "2023-11-14T22:13:20.250+00:00 \\xff",
        "2023-11-14T22:13:20.250+00:00 [    9.0] Kernel panic - not syncing: test",
    ]


def test_tail_since_and_events(board: SerialServer, recorder: ConsoleRecorder) -> None:
    said(board, recorder, b"one\r\n")
    mark = recorder.mark()
    said(board, recorder, b"two\r\nthree\r\n")
    assert recorder.since(mark)[:2] == ["two", "three"]
    assert recorder.tail(2)[0] == "three"
    assert len(recorder.events_since(mark)) == 1
    assert len(recorder.events) == 2


def test_a_port_that_closes_is_opened_again(board: SerialServer, recorder: ConsoleRecorder) -> None:
    said(board, recorder, b"before\r\n")
    assert board.client is not None
    board.client.close()
    board.accept()
    said(board, recorder, b"after\r\n")
    recorder.stop()
    text = recorder.log.read_text()
    assert text.index("before") < text.index("console port lost") < text.index("after")


def test_others_read_along_and_may_type(board: SerialServer, recorder: ConsoleRecorder) -> None:
    with (
        socket.create_connection(recorder.address, 20) as one,
        socket.create_connection(recorder.address, 20) as two,
    ):
        one.sendall(b"ls\n")
        two.sendall(b"id\n")
        assert board.client is not None
        typed = b""
        while len(typed) < 6:
            typed += board.client.recv(100)
        assert sorted(typed.split()) == [b"id", b"ls"]
        said(board, recorder, b"shared\r\n")
        for reader in (one, two):
            seen = b""
            while PANIC not in seen:
                seen += reader.recv(1000)
            assert seen == b"shared\r\n" + PANIC


def test_a_reader_that_never_reads_does_no_harm(
    board: SerialServer, recorder: ConsoleRecorder
) -> None:
    with socket.create_connection(recorder.address, 20):
        for _ in range(5):
            said(board, recorder, b"x" * 1_000_000 + b"\r\n")
    assert len(recorder.events) == 5


def test_an_unfinished_line_is_kept(board: SerialServer, recorder: ConsoleRecorder) -> None:
    said(board, recorder, b"")
    assert board.client is not None
    board.client.sendall(b"Kernel panic - not syn")
    board.client.close()
    board.accept()
    said(board, recorder, b"cing: torn\r\n")
    assert recorder.events[1].line == "Kernel panic - not syncing: torn"


def test_a_port_that_does_not_open_is_an_error(board: SerialServer, tmp_path: Path) -> None:
    board.close()
    recorder = ConsoleRecorder(lambda: ports.open_tcp("127.0.0.1", board.port), tmp_path)
    with pytest.raises(OSError, match="did not open within"):
        recorder.start(0.3)
    assert not recorder.running


def test_a_recording_goes_on_in_the_same_file(
    board: SerialServer, recorder: ConsoleRecorder
) -> None:
    said(board, recorder, b"first\r\n")
    recorder.stop()
    recorder.start(20)
    board.accept()
    said(board, recorder, b"second\r\n")
    recorder.stop()
    assert [line[30:] for line in recorder.log.read_text().splitlines()][::2] == ["first", "second"]


def test_a_local_port_is_recorded(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    recorder = ConsoleRecorder(lambda: ports.open_local(os.ttyname(theirs), 115200), tmp_path)
    recorder.start(20)
    os.write(ours, PANIC)
    assert recorder.wait_event(0, anything, 20)
    with socket.create_connection(recorder.address, 20) as reader:
        reader.sendall(b"ls")
        assert os.read(ours, 2) == b"ls"
    recorder.stop()
    os.close(ours)
    os.close(theirs)


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial
def test_an_rfc2217_port_is_recorded(board: SerialServer, tmp_path: Path) -> None:
    recorder = ConsoleRecorder(
        lambda: ports.open_rfc2217("127.0.0.1", board.port, 115200), tmp_path
    )
    device = serial.serial_for_url("loop://", timeout=0)
    threads = [threading.Thread(target=recorder.start, args=(20,))]
    threads[0].start()
    client = board.accept()

    class Sender:
        def write(self, data: bytes) -> None:
            client.sendall(data)

    manager = serial.rfc2217.PortManager(device, Sender())

    def negotiate() -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1000):
                device.write(b"".join(manager.filter(data)))

    threads.append(threading.Thread(target=negotiate))
    threads[1].start()
    threads[0].join(timeout=20)
    client.sendall(b"".join(manager.escape(PANIC)))
    assert recorder.wait_event(0, anything, 20)
    recorder.stop()
    for thread in threads:
        thread.join(timeout=20)
    device.close()


def test_labgrid_reads_behind_the_recorder(board: SerialServer, tmp_path: Path) -> None:
    target = Target("main")
    NetworkSerialPort(target, name=None, host="127.0.0.1", port=board.port, protocol="raw")
    driver = RecordedSerialDriver(target, name=None, log_dir=str(tmp_path))
    target.activate(driver)
    client = board.accept()
    client.sendall(b"Please press Enter to activate this console.\r\n")
    driver.expect("activate this console", timeout=20)
    driver.sendline("hello")
    assert client.recv(100) == b"hello\n"
    target.deactivate(driver)
    assert driver.recorder.running
    driver.stop_recording()
    assert "activate this console" in (tmp_path / "console.log").read_text()
