"""Rebooting a board over SSH: what is left where nothing can switch its power."""

from __future__ import annotations

import re
from typing import Protocol

from farm.board.ssh import CommandOutput
from farm.errors import BoardError, ProtocolError

COMMAND_S = 20.0
"""Time limit of each of the commands here."""

REBOOT = (
    '[ "$(id -u)" = 0 ] || { echo "only root may reboot it" >&2; exit 1; }; '
    "(trap '' HUP; reboot; sleep 10; reboot -f & sleep 10; echo b > /proc/sysrq-trigger) "
    "< /dev/null > /dev/null 2>&1 &"
)
"""In order, then by force, then without asking anybody: whatever works ends the rest of it."""

BOOT_ID = "/proc/sys/kernel/random/boot_id"
"""The board's file that identifies its present boot."""

UPTIME = "/proc/uptime"
"""The board's file that says for how long its kernel has run."""

_UPTIME = re.compile(rb"(\d{1,10}\.\d{2}) ")
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Runner(Protocol):
    """What runs a command on the board."""

    def run(self, command: str, *, timeout: float) -> CommandOutput:
        """Run a shell command."""


def boot_id(link: Runner) -> str:
    """Return what identifies the board's present boot (:data:`BOOT_ID`).

    Raises:
        LinkLost: the link closed.
        ProtocolError: the board says no such thing.
    """
    said = link.run(f"cat {BOOT_ID}", timeout=COMMAND_S).stdout
    text = said[:100].decode("ascii", errors="replace").strip()
    if not _BOOT_ID.fullmatch(text):
        raise ProtocolError(f"the board says that its boot id is {text!r}")
    return text


def uptime(link: Runner) -> float:
    """Return how long the board's kernel has run, in seconds (proc_uptime(5)).

    Raises:
        LinkLost: the link closed.
        ProtocolError: the board says no such thing.
    """
    said = link.run(f"cat {UPTIME}", timeout=COMMAND_S).stdout
    match = _UPTIME.match(said)
    if match is None:
        raise ProtocolError(f"the board says that its uptime is {said[:100]!r}")
    return float(match[1])


def ask_for_reboot(link: Runner) -> None:
    """Have the board reboot itself; it may do so a while after this returns.

    Raises:
        LinkLost: the link closed before the board took the command.
        BoardError: it refuses.
    """
    done = link.run(REBOOT, timeout=COMMAND_S)
    if done.status != 0:
        said = done.stderr[:200].decode("utf-8", errors="backslashreplace").strip()
        raise BoardError(f"the board does not take the command to reboot: {said}")
