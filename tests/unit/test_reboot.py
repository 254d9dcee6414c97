"""Rebooting over SSH: what the board is told, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from farm.board import reboot
from farm.board.ssh import CommandOutput
from farm.errors import BoardError, LinkLost, ProtocolError

BOOT = "6a9c3f0e-5d0b-4b53-9a55-7f3d2c1b0a99"


class Link:
    """Answers every command alike."""

    def __init__(self, stdout: bytes = b"", stderr: bytes = b"", status: int = 0) -> None:
        self.answer = CommandOutput(stdout, stderr, status)
        self.commands: list[str] = []

    def run(self, command: str, *, timeout: float) -> CommandOutput:
        self.commands.append(command)
        return self.answer


def test_the_boot_id_is_read_from_the_kernel() -> None:
    link = Link(f"{BOOT}\n".encode())
    assert reboot.boot_id(link) == BOOT
    assert link.commands == ["cat /proc/sys/kernel/random/boot_id"]


@pytest.mark.parametrize("said", [b"", b"\xff\xfe", b"no such file", BOOT.encode() * 50])
def test_anything_else_is_no_boot_id(said: bytes) -> None:
    with pytest.raises(ProtocolError, match="its boot id is"):
        reboot.boot_id(Link(said))


def test_the_uptime_is_the_first_number() -> None:
    assert reboot.uptime(Link(b"12.50 20.00\n")) == 12.5
    for said in (b"", b"a lot", b"-1.00 2.00", b"\xff12.50 1.0"):
        with pytest.raises(ProtocolError, match="its uptime is"):
            reboot.uptime(Link(said))


def test_a_reboot_goes_from_gentle_to_rough_without_waiting_for_it() -> None:
    link = Link()
    reboot.ask_for_reboot(link)
    (command,) = link.commands
    order = [command.index(word) for word in ("; reboot;", "reboot -f", "sysrq-trigger")]
    assert order == sorted(order)
    assert command.endswith("&")


def test_a_board_that_refuses_says_why() -> None:
    with pytest.raises(BoardError, match="only root may"):
        reboot.ask_for_reboot(Link(stderr=b"only root may reboot it\n", status=1))


class Reset(Link):
    """Fell silent with the command in its hands: SshLink.run() then says that it did not end."""

    def run(self, command: str, *, timeout: float) -> CommandOutput:
        raise BoardError(f"{command} did not end within {timeout:g} s")


@pytest.mark.parametrize("asked", [reboot.boot_id, reboot.uptime, reboot.ask_for_reboot])
def test_a_board_that_resets_meanwhile_is_a_link_lost(asked: Callable[[Reset], object]) -> None:
    with pytest.raises(LinkLost, match="did not end within 20 s"):
        asked(Reset())
