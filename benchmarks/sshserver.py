"""An SSH server on this machine: OpenSSH's where there is one, else one in Python."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.results import Part
from farm.board import payload
from farm.board.complaints import Ledger
from farm.board.noconsole import NoConsole
from farm.board.session import BoardSession
from farm.board.ssh import SshAddress, SshLink
from farm.errors import InfraError
from farm.inventory import load_board_types

START_S = 10.0
CONFIG = """
# SHLVL has bash leave out the user's ~/.bashrc: it may be slow, and no board has it.
SetEnv SHLVL=2
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""


@contextmanager
def local_session(folder: Path, part: Part) -> Iterator[tuple[BoardSession, SshAddress]]:
    """Give a session with this machine as the board, and its address.

    Raises:
        InfraError: the server does not come up.
    """
    with _server(folder, part) as address:
        link = SshLink(address)
        link.connect(START_S)
        quiet = NoConsole()
        session = BoardSession(
            link=link,
            console=quiet,
            ledger=Ledger(quiet),
            payload=payload.build("host"),
            limits=load_board_types()["virt-noiommu"].limits,
            counters=(),
        )
        try:
            session.open()
            yield session, address
        finally:
            session.close()
            link.close()


@contextmanager
def _server(folder: Path, part: Part) -> Iterator[SshAddress]:
    """Give OpenSSH's server as ``FARM_SSHD`` or PATH have it, else paramiko's."""
    beyond = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    sshd = shutil.which(os.environ.get("FARM_SSHD", "sshd"), path=beyond)
    if sshd is None:
        part.notes.append(
            "no sshd: measured against a server in Python (apt install openssh-server, or "
            "FARM_SSHD=PATH of one that was unpacked)"
        )
        from ssh_server import ShellServer

        server = ShellServer(folder)
        try:
            yield SshAddress(
                "127.0.0.1", server.port, "root", server.key_file, server.host_key_text
            )
        finally:
            server.close()
        return
    with _openssh(sshd, folder) as address:
        part.notes.append(f"server: {_version(sshd)}")
        yield address


@contextmanager
def _openssh(sshd: str, folder: Path) -> Iterator[SshAddress]:
    for name in ("host_key", "client_key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    config, log = folder / "sshd_config", folder / "sshd.log"
    config.write_text(CONFIG.format(port=port, folder=folder))
    with log.open("wb") as stream:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=stream)
    try:
        _await(port, server, log)
        pinned = " ".join((folder / "host_key.pub").read_text().split()[:2])
        user = getpass.getuser()
        yield SshAddress("127.0.0.1", port, user, folder / "client_key", pinned)
    finally:
        server.terminate()
        server.wait()


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.05)
    said = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise InfraError(f"sshd does not come up: {' '.join(said) or 'it says nothing'}")


def _version(sshd: str) -> str:
    said = subprocess.run([sshd, "-V"], capture_output=True, text=True, check=False).stderr
    return next((line for line in said.splitlines() if line.startswith("OpenSSH")), "OpenSSH")
