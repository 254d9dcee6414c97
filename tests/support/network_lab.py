"""A whole lab without QEMU: labgrid's coordinator and exporter, and boards that play a script.

Each board has an outlet over HTTP and an SSH server; behind it is the payload of
:mod:`scripted_board`. So ``farm run`` as it is takes them through a job in about two seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import paramiko
from labgrid_servers import CLASSES, EXPORTER, CoordinatorProcess, start_exporter, write_exports
from scripted_board import ScriptedLink, ScriptedPayload, passes
from ssh_server import ShellServer
from suite_files import write_suite

from farm.errors import LabError
from farm.lab.coordinator import Coordinator

ROOT = Path(__file__).parents[2]
TYPE = "scripted"
SUITE = "crashing"
TESTS = 4
PERSON = "alice"

CONFIG = """\
imports: [farm.board.labgrid]
targets:
  main:
    resources:
      RemotePlace: {{name: '+'}}
    drivers:
      NetworkPowerDriver: {{delay: 0.0}}
      ParamikoSSHDriver: {{}}
      BoardStrategy: {{}}
farm:
  board_type: scripted
  description: a board that plays a script
  image: installed
  limits: {{boot_s: 30, command_s: 10, case_s: 10, reboots: 3}}
  ssh: {{key: {key}, host_key: {host_key}}}
"""

TEST = f"""\
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
@pytest.mark.case("self_pass")
def test_case(board, number):
    board.run("self_pass", must=f"x{{number}}")
"""


class Outlets:
    """HTTP outlets as labgrid's power model ``rest`` wants them: PUT 0 or 1, GET tells.

    ``state`` is what each was told, ``says`` makes of that what it tells of itself.
    """

    def __init__(self, switched: Callable[[str, bool], None] = lambda path, on: None) -> None:
        self.state: dict[str, str] = {}
        self.says: Callable[[str], str] = lambda told: told
        outlets = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                length = int(self.headers["Content-Length"])
                outlets.state[self.path] = self.rfile.read(length).decode()
                switched(self.path, outlets.state[self.path] == "1")
                self._answer("")

            def do_GET(self) -> None:
                self._answer(outlets.says(outlets.state.get(self.path, "0")))

            def _answer(self, body: str) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/outlet/{{index}}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class NetworkBoard:
    """One board: off it answers nothing, on it has a shell and a payload, both scripted.

    ``ran`` are the cases that its payload ran, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.on = False
        self.ran: list[str] = []
        self._since = 0.0
        self._link = ScriptedLink(lambda: ScriptedPayload({"self_pass": passes}))
        self.server = ShellServer(folder, self._answer)

    def switch(self, on: bool) -> None:
        if on and not self.on:
            self._since = time.monotonic()
            self._link.files.clear()
        self.on = on
        if not on:
            self.server.drop()

    def _answer(self, channel: paramiko.Channel, command: str) -> None:
        try:
            status = self._run(channel, command) if self.on else 1
            channel.send_exit_status(status)
            channel.close()
        except (OSError, EOFError, paramiko.SSHException):
            return  # the board went off, or who asked is gone

    def _run(self, channel: paramiko.Channel, command: str) -> int:
        if command.endswith(" serve"):
            return self._serve(channel)
        if match := re.search(r"; mkdir -p \S+ && if \[ -f (\S+) \]", command):
            channel.sendall(b"farm:wanted\n")
            content = b"".join(iter(lambda: channel.recv(65536), b""))
            if hashlib.sha256(content).hexdigest() not in command:  # who sent it was cut off
                channel.sendall_stderr(b"arrived as something else\n")
                return 9
            self._link.files[match[1]] = content
            return 0
        while channel.recv(65536):  # its end comes once the command was accepted
            pass
        if command == "cat /proc/uptime":
            channel.sendall(f"{time.monotonic() - self._since:.2f} 0.00\n".encode())
            return 0
        done = self._link.run(command, timeout=10.0)
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        return done.status

    def _serve(self, channel: paramiko.Channel) -> int:
        payload = ScriptedPayload({"self_pass": passes})
        told = 0
        while True:
            while data := payload.read(0.0):
                channel.sendall(data)
            for line in payload.commands[told:]:
                if line.startswith("run "):
                    self.ran.append(line)
            told = len(payload.commands)
            asked = channel.recv(65536)
            if not asked:
                return 0
            payload.write(asked)


class NetworkLab:
    """The lab, a project with one suite for it, and the ``farm`` command on both."""

    def __init__(self, folder: Path, boards: int) -> None:
        """Start a lab with the places ``board-1`` to ``board-N`` in ``folder``.

        The last one is held by a person.
        """
        self.folder = folder
        self.project = folder / "project"
        keys = folder / "keys"
        keys.mkdir()
        self.boards = {f"board-{n}": NetworkBoard(keys) for n in range(1, boards + 1)}
        self.outlets = Outlets(self._switched)
        self._write_project(next(iter(self.boards.values())).server)
        write_exports(folder, self.outlets.url, [one.server.port for one in self.boards.values()])
        self.coordinator = CoordinatorProcess(folder)
        self.exporter = start_exporter(folder, self.address)
        with self.client() as client:
            for name in self.boards:
                client.add_place(name)
                for cls in CLASSES:
                    client.add_match(name, f"{EXPORTER}/{name}/{cls}")
                client.set_tags(name, {"board_type": TYPE})
        self.hold()

    @property
    def address(self) -> str:
        return self.coordinator.address

    def client(self, user: str = "keeper-of-the-lab") -> Coordinator:
        return Coordinator(self.address, f"desk/{user}")

    def await_online(self, client: Coordinator) -> None:
        """Wait until all places are; an exporter that took too long to begin is started again."""
        deadline = time.monotonic() + 120.0
        names = set(self.boards)
        while not client.wait_for(
            lambda places: all(n in places and places[n].online for n in names), 1.0
        ):
            assert time.monotonic() < deadline
            if self.exporter.poll() is not None:
                self.exporter = start_exporter(self.folder, self.address)

    def restart_coordinator(self) -> None:
        """Kill the coordinator and start it again on its port.

        It knows its places again, but neither holds nor reservations; its exporters end with it. A
        person takes back at once what was held.
        """
        with self.client() as client:
            places = client.places()
        self.exporter.kill()
        self.exporter.wait()
        self.coordinator.stop()
        self.coordinator.restart(places)
        self.exporter = start_exporter(self.folder, self.address)
        self.hold()

    def lose_power(self) -> None:
        """End every process of the farm and of the lab, as where one machine is all of it.

        The boards have a supply of their own; when the machine is back so is the lab.
        """
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.restart_coordinator()

    def hold(self) -> None:
        """Have a person hold the last board."""
        *_, name = self.boards
        with self.client(PERSON) as client:
            self.await_online(client)
            deadline = time.monotonic() + 60.0
            while True:
                try:
                    return client.acquire(name)
                except LabError:  # an exporter that has only just come may refuse
                    assert time.monotonic() < deadline
                    time.sleep(0.2)

    def restart_exporter(self) -> None:
        """Have the exporter vanish, and another one come."""
        self.exporter.kill()
        self.exporter.wait()
        self.exporter = start_exporter(self.folder, self.address)

    def variables(self, **more: str) -> dict[str, str]:
        """Return the environment of a command on this lab."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("LG_", "FARM_", "PYTEST_"))
        }
        return {
            **kept,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "NO_PROXY": "127.0.0.1,localhost",
            "FARM_ROOT": str(self.project),
            "LG_COORDINATOR": self.address,
            **more,
        }

    def start(
        self, *words: str, stderr: int = subprocess.PIPE, **more: str
    ) -> subprocess.Popen[str]:
        """Start ``farm WORDS``, with more variables."""
        return subprocess.Popen(
            [sys.executable, "-c", "from farm.cli.main import main; main()", *words],
            env=self.variables(**more),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def call(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **more)
        said, told = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, said, told)

    def processes(self) -> list[int]:
        """Return every process that the farm started here and that still runs."""
        mark = f"XDG_STATE_HOME={self.folder / 'state'}".encode()
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and mark in _environment(entry)
        ]

    def close(self) -> None:
        self.exporter.kill()
        self.exporter.wait()
        self.coordinator.close()
        for board in self.boards.values():
            board.server.close()
        self.outlets.close()

    def _switched(self, path: str, on: bool) -> None:
        self.boards[f"board-{path.rpartition('/')[2]}"].switch(on)

    def _write_project(self, server: ShellServer) -> None:
        configs = self.project / "board-configs"
        configs.mkdir(parents=True)
        for entry in (ROOT / "board-configs").iterdir():
            if entry.is_dir():
                shutil.copytree(entry, configs / entry.name)
        (configs / f"{TYPE}.yaml").write_text(
            CONFIG.format(key=server.key_file, host_key=server.host_key_text)
        )
        suites = self.project / "testsuites"
        shutil.copytree(ROOT / "testsuites", suites, ignore=shutil.ignore_patterns("__pycache__"))
        suite = write_suite(suites / SUITE)
        (suite / f"test_{SUITE}.py").write_text(TEST)


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
