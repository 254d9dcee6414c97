"""Boards with nothing but SSH, on a server of this machine whose boots are a file's content."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labgrid import Environment
from ssh_server import ShellServer

from farm.board import reboot
from farm.board.boot import BootFailed
from farm.board.noconsole import NoConsole
from farm.board.target import LabgridRig, told_as_ours
from farm.errors import BoardError, LabError

CONFIG = """\
imports: [farm.board.labgrid]
targets:
  main:
    resources:
      NetworkService: {{address: 127.0.0.1, username: root, port: {port}}}
    drivers:
      ParamikoSSHDriver: {{}}
      BoardStrategy: {{}}
farm:
  board_type: bare
  description: a board with nothing but SSH
  image: installed
  limits: {{boot_s: {boot_s}}}
  ssh: {{key: client_key, {pinned}}}
"""


class Bare:
    """A board config for a server whose boot id is what a file says."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        pinned: str = "host_key: {key}",
        boot_s: int = 60,
    ) -> None:
        self.server = ShellServer(folder)
        self._boot = folder / "boot_id"
        self.restart()
        self._patch = monkeypatch
        monkeypatch.setattr(reboot, "BOOT_ID", str(self._boot))
        self.reboots_by(f"cat /proc/sys/kernel/random/uuid > {self._boot}")
        config = folder / "bare.yaml"
        pin = pinned.format(key=self.server.host_key_text)
        text = CONFIG.format(port=self.server.port, pinned=pin, boot_s=boot_s)
        config.write_text(text)
        self.rig = LabgridRig(Environment(str(config)), folder / "out")

    def reboots_by(self, command: str) -> None:
        """Say what a reboot is; this machine's own is never asked for."""
        self._patch.setattr(reboot, "REBOOT", command)

    def restart(self) -> None:
        new = self._boot.with_suffix(".new")
        new.write_text(f"{uuid.uuid4()}\n")
        new.replace(self._boot)  # at once: it is being read

    def boot_id(self) -> str:
        return self._boot.read_text()


@pytest.fixture
def bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Bare]:
    made = Bare(tmp_path, monkeypatch, boot_s=getattr(request, "param", 60))
    yield made
    made.rig.close()
    with contextlib.suppress(OSError):  # a test may have closed it
        made.server.close()


def test_the_first_boot_takes_the_board_as_it_runs(bare: Bare) -> None:
    before = bare.boot_id()
    assert bare.rig.boot() >= 0
    assert bare.boot_id() == before
    assert isinstance(bare.rig.console, NoConsole)
    assert bare.rig.link.run("echo here", timeout=20).stdout == b"here\n"


def test_a_later_boot_is_a_reboot_over_ssh(bare: Bare) -> None:
    bare.rig.boot()
    before = bare.boot_id()
    bare.rig.boot()
    assert bare.boot_id() != before
    assert bare.rig.link.connected


def test_a_board_that_restarted_by_itself_is_not_rebooted_again(bare: Bare) -> None:
    bare.rig.boot()
    bare.reboots_by("false")
    bare.server.drop()
    bare.restart()
    bare.rig.boot()
    assert bare.rig.link.connected


@pytest.mark.parametrize("bare", [6], indirect=True, ids=["6 s"])
def test_a_board_that_does_not_reboot_is_told_with_what_is_left(bare: Bare) -> None:
    bare.rig.boot()
    bare.reboots_by("true")
    with pytest.raises(BootFailed, match=r"no SSH within 6 s of a reboot .* do it by hand"):
        bare.rig.boot()


def test_a_board_that_refuses_to_reboot(bare: Bare) -> None:
    bare.rig.boot()
    bare.reboots_by("echo not today >&2; exit 1")
    with pytest.raises(BoardError, match=r"not today; nothing else can restart this board"):
        bare.rig.boot()


@pytest.mark.parametrize("bare", [3], indirect=True, ids=["3 s"])
def test_a_board_that_is_not_there(bare: Bare) -> None:
    bare.server.close()
    with pytest.raises(BootFailed, match=r"3 s of the first try .* the board has no console"):
        bare.rig.boot()


def test_off_leaves_the_board_on(bare: Bare) -> None:
    bare.rig.boot()
    before = bare.boot_id()
    bare.rig.off()
    assert bare.boot_id() == before
    bare.rig.boot()
    assert bare.rig.link.connected


def test_a_board_that_comes_back_late_is_waited_for(bare: Bare) -> None:
    bare.rig.boot()
    bare.reboots_by("true")
    late = threading.Timer(1.0, bare.restart)
    late.start()
    bare.rig.boot()
    late.join()
    assert bare.rig.link.connected


def test_the_target_says_what_it_lacks(bare: Bare) -> None:
    strategy: Any = bare.rig._strategy
    assert (strategy.power, strategy.console) == (None, None)


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bare]:
    monkeypatch.setattr(
        __name__ + ".CONFIG", CONFIG.replace("drivers:", "drivers:\n      ManualPowerDriver: {{}}")
    )
    made = Bare(tmp_path, monkeypatch)
    yield made
    made.rig.close()
    made.server.close()


def test_a_board_that_a_person_switches_is_rebooted_over_ssh_and_nobody_is_asked(
    by_hand: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(question: str) -> str:
        raise EOFError(question)

    monkeypatch.setattr("builtins.input", nobody)
    before = by_hand.boot_id()
    by_hand.rig.boot()
    assert by_hand.boot_id() == before
    by_hand.rig.boot()
    after = by_hand.boot_id()
    assert after != before
    by_hand.rig.off()
    assert by_hand.boot_id() == after


def test_a_driver_that_asks_where_nobody_answers_is_told_in_a_sentence() -> None:
    said = "board-1: a driver of labgrid's asks at the terminal"
    with pytest.raises(BoardError, match=said), told_as_ours("board-1"):
        raise EOFError


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bare]:
    made = Bare(tmp_path, monkeypatch, "known_hosts: known_hosts")
    yield made
    made.rig.close()
    made.server.close()


def test_a_host_key_may_be_pinned_in_a_known_hosts_file(listed: Bare, tmp_path: Path) -> None:
    line = f"[127.0.0.1]:{listed.server.port} {listed.server.host_key_text}"
    (tmp_path / "known_hosts").write_text(f"# the shelf\nother ssh-rsa AAAA\n{line}\n")
    listed.rig.boot()
    assert listed.rig.link.connected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "known_hosts cannot be read"),
        ("", "known_hosts has no host key for it"),
        ("127.0.0.1 {key}", "known_hosts has no host key for it"),
        ("[127.0.0.1]:{port} ssh-ed25519 "
         "AAAAC3NzaC1lZDI1NTE5AAAAIJ2t0vXK9Xv8bYc0o9o0V7wQJ0y3y8W0r3n0Jm5i2c7a",
         "has no host key of the pinned type ssh-ed25519"),
    ],
)  # fmt: skip
def test_a_host_that_the_file_does_not_pin_is_refused(
    listed: Bare, tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        text = content.format(port=listed.server.port, key=listed.server.host_key_text)
        (tmp_path / "known_hosts").write_text(f"{text}\n")
    with pytest.raises(BoardError, match=said):
        listed.rig.boot()


def test_a_driver_that_labgrid_cannot_make_is_told_in_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "bare.yaml"
    text = CONFIG.format(port=9, pinned="host_key: ssh-rsa AAAA", boot_s=60)
    wrong = "drivers:\n      NetworkPowerDriver: {delay: 5}"
    power = "resources:\n      NetworkPowerPort: {model: rest, host: 'http://127.0.0.1', index: 0}"
    text = text.replace("drivers:", wrong).replace("resources:", power)
    config.write_text(text)
    with pytest.raises(LabError, match=r"NetworkPowerDriver.*'delay' must be .*float"):
        LabgridRig(Environment(str(config)), tmp_path)
