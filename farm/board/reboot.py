"""Rebooting a board over SSH: what is left where nothing can switch its power."""

from __future__ import annotations

import re
from typing import Protocol

from farm.board.ssh import CommandOutput
from farm.errors import BoardError, LinkLost, ProtocolError

COMMAND_S = 20.0
"""Time limit of each of the commands here. Who needs longer has hung, or is going down."""

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
        LinkLost: the link closed, or nothing came.
        ProtocolError: the board says no such thing.
    """
    said = _run(link, f"cat {BOOT_ID}").stdout
    text = said[:100].decode("ascii", errors="replace").strip()
    if not _BOOT_ID.fullmatch(text):
        raise ProtocolError(f"the board says that its boot id is {text!r}")
    return text


def uptime(link: Runner) -> float:
    """Return how long the board's kernel has run, in seconds (proc_uptime(5)).

    Raises:
        LinkLost: the link closed, or nothing came.
        ProtocolError: the board says no such thing.
    """
    said = _run(link, f"cat {UPTIME}").stdout
    match = _UPTIME.match(said)
    if match is None:
        raise ProtocolError(f"the board says that its uptime is {said[:100]!r}")
    return float(match[1])


def ask_for_reboot(link: Runner) -> None:
    """Have the board reboot itself; it may do so a while after this returns.

    Raises:
        LinkLost: the link closed before the board took the command, or nothing came.
        BoardError: it refuses.
    """
    done = _run(link, REBOOT)
    if done.status != 0:
        said = done.stderr[:200].decode("utf-8", errors="backslashreplace").strip()
        raise BoardError(f"the board does not take the command to reboot: {said}")


def _run(link: Runner, command: str) -> CommandOutput:
    """Run a command that every board that is up ends at once.

    A board that resets says no goodbye: its next kernel is the first to tell that the connection
    is none, and may come up only after the time limit.
    """
    try:
        return link.run(command, timeout=COMMAND_S)
    except LinkLost:
        raise
    except BoardError as error:
        raise LinkLost(str(error)) from error
