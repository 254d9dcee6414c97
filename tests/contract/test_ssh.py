"""SSH against a server on loopback: pinned keys, whole files, time limits, lost links."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from labgrid import Target
from labgrid.driver.exception import ExecutionError
from labgrid.resource import NetworkService
from ssh_server import ShellServer

from farm.board import ssh
from farm.board.channel import PayloadChannel
from farm.board.labgrid import ParamikoSSHDriver
from farm.board.payload import build
from farm.board.ssh import SshAddress, SshLink
from farm.errors import BoardError, LinkLost


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShellServer]:
    made = ShellServer(tmp_path_factory.mktemp("board"))
    yield made
    made.close()


@pytest.fixture
def address(server: ShellServer) -> SshAddress:
    return SshAddress("127.0.0.1", server.port, "root", server.key_file, server.host_key_text)


@pytest.fixture
def link(address: SshAddress) -> Iterator[SshLink]:
    made = SshLink(address)
    made.connect(20)
    yield made
    made.close()


def test_command(link: SshLink) -> None:
    done = link.run("echo out; echo err >&2; exit 3", timeout=20)
    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 3)


def test_command_that_does_not_end(link: SshLink) -> None:
    with pytest.raises(BoardError, match=r"did not end within 2 s"):
        link.run("exec sleep 60", timeout=2)
    assert link.run("echo still here", timeout=20).stdout == b"still here\n"


def test_a_child_that_is_left_behind_is_not_waited_for(link: SshLink) -> None:
    done = link.run("echo $$; sleep 30 & echo $!", timeout=25)
    assert done.status == 0 and len(done.stdout.split()) == 2
    link.run(f"kill {done.stdout.split()[1].decode()}", timeout=20)


def test_output_is_bounded(link: SshLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "MAX_OUTPUT", 1000)
    done = link.run("head -c 300000 /dev/zero; echo end >&2", timeout=20)
    assert (len(done.stdout), done.stderr, done.status) == (1000, b"end\n", 0)


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_files_there_and_back(
    link: SshLink, server: ShellServer, tmp_path: Path, size: int
) -> None:
    content = bytes(index * 7 % 256 for index in range(size))
    source = tmp_path / "source"
    source.write_bytes(content)
    there = server.folder / f"it's a $(file) {size}"
    assert link.put(source, str(there), timeout=30, mode=0o755)
    assert there.read_bytes() == content
    assert there.stat().st_mode & 0o777 == 0o755
    assert not link.put(source, str(there), timeout=30, mode=0o700)
    assert there.stat().st_mode & 0o777 == 0o700
    link.get(str(there), tmp_path / "back", timeout=30)
    assert (tmp_path / "back").read_bytes() == content
    assert not list(server.folder.glob("*.part-*"))


def test_a_file_that_arrives_damaged_never_takes_its_name(
    link: SshLink, server: ShellServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    monkeypatch.setattr(ssh, "_sha256", lambda path: hashlib.sha256(b"other").hexdigest())
    with pytest.raises(BoardError, match="arrived as"):
        link.put(source, str(server.folder / "damaged"), timeout=20)
    assert not list(server.folder.glob("damaged*"))


def test_file_errors_say_what_and_where(link: SshLink, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="/no/where cannot be read"):
        link.get("/no/where", tmp_path / "x", timeout=20)
    with pytest.raises(BoardError, match="could not be copied to /no/where/x"):
        link.put(Path(__file__), "/no/where/x", timeout=20)


def test_wrong_host_key_is_refused(address: SshAddress) -> None:
    other = paramiko.ECDSAKey.generate()
    wrong = replace(address, host_key=f"{other.get_name()} {other.get_base64()}")
    link = SshLink(wrong)
    with pytest.raises(BoardError, match=r"host key is .* expected .*") as caught:
        link.connect(20)
    assert not isinstance(caught.value, LinkLost)
    assert caught.value.next_step
    assert not link.connected


def test_host_key_of_another_type_is_refused(address: SshAddress) -> None:
    wrong = replace(
        address,
        host_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbx",
    )
    with pytest.raises(BoardError, match="no host key of the pinned type ssh-ed25519"):
        SshLink(wrong).connect(20)


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "nonsense AAAA", "ssh-rsa !!!!"])
def test_without_a_pinned_key_there_is_no_connection(address: SshAddress, text: str) -> None:
    with pytest.raises(BoardError, match="no host key is pinned"):
        SshLink(replace(address, host_key=text)).connect(20)


def test_wrong_client_key_is_refused(address: SshAddress, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    paramiko.ECDSAKey.generate().write_private_key_file(str(stranger))
    with pytest.raises(BoardError, match="is refused"):
        SshLink(replace(address, key=stranger)).connect(20)
    (tmp_path / "rubbish").write_text("rubbish")
    with pytest.raises(BoardError, match="cannot be used"):
        SshLink(replace(address, key=tmp_path / "rubbish")).connect(20)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_board_that_goes_away_while_we_log_in_refuses_nothing(
    server: ShellServer, address: SshAddress, hangs_up: bool
) -> None:
    left = threading.Event()

    def leave() -> int:
        if hangs_up:
            server.drop()
        left.wait(20)
        return paramiko.AUTH_FAILED

    server.asked = leave
    try:
        with pytest.raises(LinkLost, match="closed" if hangs_up else "no answer within 5 s"):
            SshLink(address).connect(20 if hangs_up else 5)
    finally:
        server.asked = None
        left.set()


def test_a_board_that_wants_more_than_a_key_is_not_logged_in_to(
    server: ShellServer, address: SshAddress
) -> None:
    server.asked = lambda: paramiko.AUTH_PARTIALLY_SUCCESSFUL
    try:
        with pytest.raises(BoardError, match="is refused"):
            SshLink(address).connect(20)
    finally:
        server.asked = None


def test_a_key_of_a_kind_that_the_board_does_not_take_is_refused_in_words(
    server: ShellServer, address: SshAddress, tmp_path: Path
) -> None:
    key = tmp_path / "rsa"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(key))
    server.disabled = {"pubkeys": ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]}
    try:
        with pytest.raises(BoardError, match=r"is refused: .*ssh-rsa") as caught:
            SshLink(replace(address, key=key)).connect(20)
        assert not isinstance(caught.value, LinkLost)
    finally:
        server.disabled = {}


def test_nobody_there(address: SshAddress, tmp_path: Path) -> None:
    with pytest.raises(LinkLost, match="no connection"):
        SshLink(replace(address, port=1)).connect(5)


def test_commands_after_the_link_is_gone(link: SshLink, server: ShellServer) -> None:
    server.drop()
    with pytest.raises(LinkLost):
        link.run("true", timeout=10)


def driver_of(server: ShellServer, host_key: str) -> tuple[Target, ParamikoSSHDriver]:
    target = Target("main")
    NetworkService(target, name=None, address="127.0.0.1", username="root", port=server.port)
    driver = ParamikoSSHDriver(target, name=None, keyfile=str(server.key_file), hostkey=host_key)
    return target, driver


def test_labgrid_driver(server: ShellServer, tmp_path: Path) -> None:
    target, driver = driver_of(server, server.host_key_text)
    target.activate(driver)
    assert target.get_driver("CommandProtocol") is driver
    assert driver.run_check("echo one; echo two") == ["one", "two"]
    with pytest.raises(ExecutionError):
        driver.run_check("false")
    files = target.get_driver("FileTransferProtocol")
    files.put(__file__, str(server.folder / "copy"))
    files.get(str(server.folder / "copy"), str(tmp_path))
    assert (tmp_path / "copy").read_bytes() == Path(__file__).read_bytes()
    assert driver.get_status() == 1
    target.deactivate(driver)
    assert not driver.link.connected


def test_labgrid_driver_refuses_another_host_key(server: ShellServer) -> None:
    other = paramiko.ECDSAKey.generate()
    target, driver = driver_of(server, f"{other.get_name()} {other.get_base64()}")
    with pytest.raises(BoardError, match="host key is"):
        target.activate(driver)


def test_labgrid_driver_without_any_key(server: ShellServer) -> None:
    target, driver = driver_of(server, "")
    with pytest.raises(BoardError, match="no host key is known"):
        target.activate(driver)


def test_payload_channel_over_ssh(link: SshLink, server: ShellServer) -> None:
    channel = PayloadChannel(link.open_channel([str(build("host").path), "serve"]))
    channel.start(20)
    channel.ping(20)
    block = channel.run("self_pass", {"must": "x"}, timeout_ms=5000, grace=10)
    assert block.outcome == "pass"
    server.drop()
    with pytest.raises(LinkLost):
        channel.run("self_pass", {"must": "x"}, timeout_ms=5000, grace=10)
    channel.close()


def test_a_login_goes_on_with_the_connection_that_was_dialled(
    server: ShellServer, address: SshAddress
) -> None:
    before = len(server.transports)
    link = SshLink(address)
    assert link.dial(20)
    link.connect(20)
    assert link.run("echo here", timeout=20).stdout == b"here\n"
    assert len(server.transports) == before + 1
    link.close()


def test_who_dialled_hangs_up(server: ShellServer, address: SshAddress) -> None:
    link = SshLink(address)
    assert link.dial(20) and link.dial(20)
    link.close()
    for transport in server.transports[-2:]:
        transport.join(20)
        assert not transport.is_alive()


@pytest.mark.parametrize("says", [b"", b"SSH", b"HTTP/1.1 400"])
def test_dialling_what_is_no_ssh_server(address: SshAddress, says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = SshLink(replace(address, port=listener.getsockname()[1]))
        dialling = threading.Thread(target=lambda: answers.append(link.dial(20)))
        answers: list[bool] = []
        dialling.start()
        connection, _ = listener.accept()
        connection.sendall(says)
        connection.close()
        dialling.join(30)
        assert answers == [False]
        assert not link.connected
    assert not link.dial(0.1)  # nobody listens


def test_dialling_who_keeps_silent(address: SshAddress) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not SshLink(replace(address, port=listener.getsockname()[1])).dial(0.1)


def test_a_key_with_a_passphrase_is_refused_in_words(address: SshAddress, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)]
    subprocess.run(words, check=True)
    with pytest.raises(BoardError, match=r"locked cannot be used: .*password") as caught:
        SshLink(replace(address, key=key)).connect(20)
    assert "without a passphrase" in caught.value.next_step
