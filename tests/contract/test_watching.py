"""Watching a lab's boards and opening their consoles: real labgrid, scripted boards."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from farm.board.recorder import PORT_FILE, ConsoleRecorder
from farm.lab import client, virtual
from farm.lab.coordinator import Coordinator
from farm.run import joblist

BOARD = "virt-noiommu-1"
WAIT_S = 60.0
FARM = (sys.executable, "-c", "from farm.cli.main import main; main()")


@pytest.fixture
def lab(scripted: Path, monkeypatch: pytest.MonkeyPatch) -> virtual.VirtualLab:
    for name in ("LG_HOSTNAME", "LG_USERNAME", "LG_COORDINATOR"):
        monkeypatch.delenv(name, raising=False)
    return virtual.up("default", {"virt-noiommu": 1})


def farm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FARM, *words], capture_output=True, text=True, timeout=WAIT_S)


def way() -> dict[str, Any]:
    done = farm("console", BOARD, "--json")
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(done.stdout)
    return body


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, words: Sequence[str]) -> None:
        """Start it."""
        self.screen = ""
        self.master, inner = pty.openpty()
        self.process = subprocess.Popen(
            words, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "40"},
        )  # fmt: skip
        os.close(inner)

    def expect(self, pattern: str) -> None:
        """Read until the screen shows it."""
        deadline = time.monotonic() + WAIT_S
        while not re.search(pattern, self.screen):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.screen[-2000:]!r}"
            self._read(0.2)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def leave_microcom(self) -> None:
        """Ask for its prompt once it has taken the terminal over, and quit there.

        Until then its escape character is the terminal's own quit character, which throws away
        what is on its way to the screen (isig() of n_tty).
        """
        self.expect(r"to get to the prompt")
        deadline = time.monotonic() + WAIT_S
        while self._makes_signals():
            assert time.monotonic() < deadline, self.screen[-2000:]
            time.sleep(0.01)
        self.type(b"\x1c")
        self.expect(r"-> ")
        self.type(b"quit\r")

    def end(self) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.screen[-2000:]
            self._read(0.2)
        self._read(0.0)
        os.close(self.master)
        return self.process.returncode

    def _makes_signals(self) -> bool:
        local_modes: int = termios.tcgetattr(self.master)[3]
        return bool(local_modes & termios.ISIG)

    def _read(self, wait_s: float) -> None:
        ready, _, _ = select.select([self.master], [], [], wait_s)
        if ready:
            try:
                self.screen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                time.sleep(wait_s)  # its other end is closed; the process is about to end


def test_a_free_board_is_leased_switched_on_and_off_again(lab: virtual.VirtualLab) -> None:
    assert way()["through"] == "lease"
    terminal = Terminal([*FARM, "console", BOARD, "--on"])
    terminal.expect(r"line 1999 of the boot log")
    with Coordinator(lab.coordinator, "testhost/observer") as observer:
        holder = observer.place(BOARD).holder
        assert re.search(r"/farm-", holder)
        seen = json.loads(farm("watch", "--json").stdout)["boards"]
        assert [(row["state"], row["holder"]) for row in seen] == [("held", holder)]
        assert seen[0]["note"].startswith("run console")
        assert "is on" in labgrid(lab, holder, "power", "get")
        refused = farm("console", BOARD)
        assert refused.returncode == 3
        assert f"board {BOARD} is held by run console" in refused.stderr
        terminal.type(b"hello board\r")
        terminal.expect(r"hello board")
        terminal.leave_microcom()
        assert terminal.end() == 0, terminal.screen[-2000:]
        assert observer.wait_for(lambda places: places[BOARD].free, WAIT_S)


def test_a_board_that_the_user_holds_stays_the_users(lab: virtual.VirtualLab) -> None:
    me = client.own_identity()
    with Coordinator(lab.coordinator, me) as own:
        own.acquire(BOARD)
        assert (way()["through"], way()["holder"]) == ("hold", me)
        assert farm("console", BOARD).returncode == 2  # this is no terminal
        terminal = Terminal([*FARM, "console", BOARD])
        terminal.expect(r"connecting to")
        terminal.leave_microcom()
        assert terminal.end() == 0, terminal.screen[-2000:]
        assert own.place(BOARD).holder == me


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("virt-noiomu-1",), 2, "did you mean 'virt-noiommu-1'?"),
        ((BOARD, "--coordinator", "127.0.0.1:1"), 3, "no coordinator at 127.0.0.1:1"),
    ],
)
def test_a_console_that_cannot_be_had_is_said(
    words: tuple[str, ...], code: int, said: str, lab: virtual.VirtualLab
) -> None:
    done = farm("console", *words)
    assert done.returncode == code
    assert said in done.stderr


def labgrid(lab: virtual.VirtualLab, identity: str, *words: str) -> str:
    argv, env = client.command(lab.coordinator, BOARD, identity, *words)
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout


class Loop:
    """A serial port that gives back what it gets."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.pipe()

    def read(self) -> bytes:
        ready, _, _ = select.select([self.ours], [], [], 0.05)
        return os.read(self.ours, 4096) if ready else b""

    def write(self, data: bytes) -> None:
        os.write(self.theirs, data)

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def recorder(state: Path) -> Iterator[ConsoleRecorder]:
    """A console of a job that runs: this process has it."""
    joblist.enlist(
        coordinator="127.0.0.1:1", board=BOARD, board_type="virt-noiommu", run="run-1", job=BOARD,
        folder=state,
    )  # fmt: skip
    recorder = ConsoleRecorder(Loop, state)
    recorder.start()
    yield recorder
    recorder.stop()


def test_a_running_jobs_console_is_read_along(recorder: ConsoleRecorder, state: Path) -> None:
    host, port = recorder.address
    assert way()["address"] == f"{host}:{port}"
    terminal = Terminal([*FARM, "console", BOARD])
    terminal.expect(r"run run-1 has it; reading only")
    typing = Terminal([*FARM, "console", BOARD, "--type"])
    typing.expect(r"goes into its test")
    terminal.type(b"unheard")
    typing.type(b"[  1.0] said\r\n")
    terminal.expect(r"\[  1.0\] said")
    typing.expect(r"\[  1.0\] said")
    terminal.type(b"\x03")
    assert terminal.end() == 0
    assert "unheard" not in typing.screen
    recorder.stop()
    typing.expect(r"the recording has ended")
    assert typing.end() == 0
    assert not (state / PORT_FILE).exists()
    done = farm("console", BOARD)
    assert done.returncode == 3
    assert "does not record its console now" in done.stderr
