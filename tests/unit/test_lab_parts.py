"""The parts of a virtual lab that need no process: QEMU's arguments, HTTP, files, processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.cli.lab import parse_boards
from farm.errors import LabError, UsageError
from farm.lab import files, processes, qemu, web
from farm.lab.files import BoardSpec, LabRecord, LabState, Outlets
from farm.lab.sockets import SerialPort
from farm.lab.supervisor import resources

PAUSED = qemu.Start(paused=True)


def board(place: str = "virt-1") -> BoardSpec:
    return BoardSpec(
        place=place, board_type="virt", image="debian-13", image_id="0" * 16, tags={"a": "b"},
        kernel=Path("/k"), initrd=Path("/i"), machine="virt,iommu=smmuv3", cpu="cortex-a57", smp=2,
        memory_mib=1024, devices=("cirrus-vga,romfile=", "edu"), append="nokaslr",
    )  # fmt: skip


def test_qemu_is_told_what_the_board_is() -> None:
    argv = qemu.arguments(board(), qemu.Start(), serial_fd=7, monitor_fd=8)
    pairs = list(itertools.pairwise(argv))
    for pair in (
        ("-machine", "virt,iommu=smmuv3"), ("-cpu", "cortex-a57"), ("-smp", "2,sockets=2"),
        ("-m", "1024"),
        ("-kernel", "/k"), ("-initrd", "/i"), ("-chardev", "socket,id=serial,fd=7"),
        ("-chardev", "socket,id=monitor,fd=8"),
        ("-append", "console=ttyAMA0 ignore_loglevel hostname=virt-1 nokaslr"),
    ):  # fmt: skip
        assert pair in pairs
    devices = [value for key, value in pairs if key == "-device"]
    assert devices[:2] == ["cirrus-vga,romfile=", "edu"]
    assert devices[2].startswith("virtio-net-pci,") and "iommu" not in devices[2]
    network = next(value for key, value in pairs if key == "-netdev")
    assert "restrict=on" in network and "hostfwd=tcp:127.0.0.1:0-:22" in network
    assert "-S" not in argv
    assert "-S" in qemu.arguments(board(), PAUSED, serial_fd=7, monitor_fd=8)


def test_an_exact_board_counts_instructions_and_has_no_network() -> None:
    exact = board("virt-7").model_copy(update={"exact": True})
    argv = qemu.arguments(exact, qemu.Start(), serial_fd=7, monitor_fd=8)
    pairs = list(itertools.pairwise(argv))
    assert ("-icount", "shift=1,sleep=off,align=off") in pairs and ("-seed", "1") in pairs
    assert "-netdev" not in argv and "virtio" not in " ".join(argv)
    append = next(value for key, value in pairs if key == "-append")
    assert "hostname=virt " in append, "boards of one type must not be told apart"
    paused = qemu.arguments(exact, PAUSED, serial_fd=7, monitor_fd=8)
    assert "-S" not in argv
    assert [word for word in paused if word != "-S"] == argv


def test_a_disk_and_a_clock_move_no_device() -> None:
    disk = Path("/tmp/a,b.img")
    argv = qemu.arguments(board(), qemu.Start(disk=disk, year=1980), serial_fd=7, monitor_fd=8)
    pairs = list(itertools.pairwise(argv))
    devices = [value for key, value in pairs if key == "-device"]
    assert devices[-1] == "virtio-blk-pci,drive=disk"
    drive = next(value for key, value in pairs if key == "-drive")
    assert "readonly=on" in drive and drive.endswith("file=/tmp/a,,b.img")
    assert ("-rtc", "base=1980-01-01T00:00:00") in pairs
    plain = qemu.arguments(board(), qemu.Start(), serial_fd=7, monitor_fd=8)
    assert argv[: len(plain)] == plain


def test_the_exporter_offers_stock_resources_on_loopback() -> None:
    outlets = Outlets(http=1000, serial=(2001, 2002), ssh=(3001, 3002))
    exported = resources((board("a"), board("b")), outlets)
    assert exported["b"] == {
        "NetworkPowerPort": {
            "model": "rest", "host": "http://127.0.0.1:1000/boards/{index}/power", "index": 1,
        },
        "NetworkSerialPort": {"host": "127.0.0.1", "port": 2002, "protocol": "raw"},
        "NetworkService": {"address": "127.0.0.1", "username": "root", "port": 3002},
    }  # fmt: skip


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_bad_one(head: bytes) -> None:
    try:
        method, path, length = web.parse_head(head)
    except web.BadRequest as error:
        assert 400 <= error.status < 500
    else:
        assert method is not None and path.startswith("/") and 0 <= length <= web.MAX_BODY


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /x", 400),
        (b"GET x HTTP/1.1", 400),
        (b"PUT /x HTTP/1.1\r\nnonsense", 400),
        (b"PUT /x HTTP/1.1\r\nContent-Length: -1", 400),
        (b"PUT /x HTTP/1.1\r\nContent-Length: 99999999999999", 413),
        (b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
    ],
)
def test_what_the_outlet_does_not_take(head: bytes, status: int) -> None:
    with pytest.raises(web.BadRequest) as caught:
        web.parse_head(head)
    assert caught.value.status == status


def test_a_request_as_requests_sends_it() -> None:
    head = b"PUT /boards/0/power?x=1 HTTP/1.1\r\nHost: h\r\nAccept: */*\r\ncontent-length: 1"
    assert web.parse_head(head) == ("PUT", "/boards/0/power", 1)


def test_a_handler_that_breaks_is_a_500_with_the_reason() -> None:
    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError(f"no {request.path}")

    async def ask() -> bytes:
        server = await web.serve(broken)
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port(server))
        writer.write(b"GET /luck HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        return answer

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 500 ") and answer.endswith(b"no /luck\n")


def test_a_serial_reader_that_never_reads_is_cut_off_and_the_others_are_not() -> None:
    async def run() -> int:
        port = SerialPort(lambda _: None)
        number = await port.open()
        _, slow = await asyncio.open_connection("127.0.0.1", number, limit=1)
        quick_reader, quick = await asyncio.open_connection("127.0.0.1", number)
        while port.readers < 2:
            await asyncio.sleep(0)
        block = b"x" * (1 << 20)
        read = 0
        while port.readers > 1:
            port.broadcast(block)
            read += len(await quick_reader.readexactly(len(block)))
        port.broadcast(b"end")
        assert await quick_reader.readexactly(3) == b"end"
        for writer in (slow, quick):
            writer.transport.abort()
        await port.close()
        return read

    assert asyncio.run(run()) > 8 << 20


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def record(name: str) -> LabRecord:
    return LabRecord(
        name=name, state=LabState.UP, temporary=False, boot_id="b", created=1.0,
        coordinator="127.0.0.1:1", boards=(board(),),
        outlets=Outlets(http=1, serial=(2,), ssh=(3,)),
        processes=(files.Process(role="rack", pid=1, started=2),),
    )  # fmt: skip


def test_a_lab_record_comes_back_as_it_was(state: Path) -> None:
    files.folder("one").mkdir()
    files.save(record("one"))
    assert files.load("one") == record("one")
    assert files.names() == ["one"]
    assert [path.name for path in files.folder("one").iterdir()] == ["lab.json"]
    files.forget("one")
    assert files.load("one") is None


@pytest.mark.parametrize("text", ["", "{}", "\0", '{"v": 1, "name": "x", "state": "odd"}'])
def test_a_damaged_lab_record_is_our_error(state: Path, text: str) -> None:
    files.folder("bad").mkdir()
    (files.folder("bad") / "lab.json").write_text(text)
    with pytest.raises(LabError, match="cannot be read") as caught:
        files.load("bad")
    assert "remove" in caught.value.next_step


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x", "x" * 33, "a\n"])
def test_names_that_no_lab_can_have(state: Path, name: str) -> None:
    with pytest.raises(UsageError, match="lab name"):
        files.folder(name)


def test_only_the_recorded_process_is_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        known = processes.identify("x", child.pid)
        other = known.model_copy(update={"started": known.started - 1})
        assert processes.alive(known) and not processes.alive(other)
        assert processes.end(other, signal.SIGKILL, 1.0)
        assert processes.alive(known)
        assert processes.end(known, signal.SIGKILL, 60.0)
        assert not processes.alive(known)
    assert processes.end(known, signal.SIGKILL, 1.0)
    assert processes.identify("gone", child.pid).started == -1


def test_a_signal_that_is_ignored_is_told() -> None:
    with subprocess.Popen(
        [sys.executable, "-c",
         "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        known = processes.identify("x", child.pid)
        assert not processes.end(known, signal.SIGTERM, 0.01)
        assert processes.end(known, signal.SIGKILL, 60.0)


def test_boards_on_the_command_line() -> None:
    assert parse_boards(["virt-smmuv3=2", "virt-noiommu"]) == {"virt-smmuv3": 2, "virt-noiommu": 1}
    for words in (["=1"], ["a=b"], ["a=-1"], ["a="], ["a=1", "a=2"], [""]):
        with pytest.raises(UsageError, match="--boards"):
            parse_boards(words)


def test_own_process_is_alive() -> None:
    assert processes.alive(processes.identify("self", os.getpid()))
