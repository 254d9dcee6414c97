"""What can go wrong with a virtual board on command, as it does by itself with a real one.

``docs/faults.md`` tells for each what the farm makes of it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from farm.errors import UsageError

_NUMBER = re.compile(r"\d{1,6}(\.\d{1,3})?")


class Fault(StrEnum):
    """A way in which one board of a rack is broken.

    It lasts until another is set; the two momentary ones happen once and change nothing else.
    """

    NONE = "none"
    NO_BOOT = "no-boot"  # power comes on, the CPU never starts: nothing on the serial line
    BOOT_LOOP = "boot-loop"  # the board resets itself as soon as its kernel starts
    NO_KERNEL_FILE = "no-kernel-file"  # its TFTP server, or its disk, has lost the kernel
    HANG = "hang"  # the board stops dead, some seconds after SSH was first used in a boot
    PANIC = "panic"  # the kernel panics, some seconds after SSH was first used in a boot
    SLOW = "slow"  # the CPUs get a part of their time only
    CLOCK = "clock"  # the board's clock says another year, from the next power-on on
    OUTLET_STUCK = "outlet-stuck"  # the outlet obeys in words, and its state stays what it is
    OUTLET_LIES = "outlet-lies"  # the same, and it says that its state is what it was told
    SERIAL_GARBAGE = "serial-garbage"  # random bytes among those that the board writes
    SERIAL_DROP = "serial-drop"  # connections to the serial line are cut every so many bytes
    SERIAL_BYTES = "serial-bytes"  # what the board writes comes one byte at a time
    SERIAL_DEAF = "serial-deaf"  # the board does not get what is typed on its serial line
    SSH_REFUSE = "ssh-refuse"  # SSH connections are closed as soon as they are opened
    SSH_STALL = "ssh-stall"  # SSH connections stay open, but no byte passes any more
    SSH_CLOSE = "ssh-close"  # SSH connections are cut some seconds after they were first used
    HOST_KEY = "wrong-host-key"  # the board shows another host key, from the next power-on on
    LINK_DROP = "link-drop"  # momentary: every SSH connection that is open now is cut
    FREEZE = "freeze"  # momentary: the running board stops dead until its power is cut


@dataclass(frozen=True, slots=True)
class Argument:
    """What the number after a fault's name means, and which numbers it may be."""

    meaning: str
    default: float
    least: float
    most: float


ARGUMENTS = {
    Fault.HANG: Argument("seconds", 10, 0, 86400),
    Fault.PANIC: Argument("seconds", 10, 0, 86400),
    Fault.SLOW: Argument("times slower", 3, 1, 100),
    Fault.CLOCK: Argument("the year", 1980, 1970, 2100),
    Fault.SERIAL_DROP: Argument("bytes", 4096, 1, 999999),
    Fault.SSH_CLOSE: Argument("seconds", 5, 0, 86400),
}
"""The faults that take a number."""

NOT_EXACT = frozenset(
    {
        *(Fault.SSH_REFUSE, Fault.SSH_STALL, Fault.SSH_CLOSE, Fault.HOST_KEY, Fault.LINK_DROP),
        *(Fault.PANIC, Fault.CLOCK),
    }
)
"""Faults of what exact boards have not got: SSH, a shell on the serial line, the host's time."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault with its number, as in ``hang:20``; the number is 0 where the fault takes none."""

    fault: Fault
    number: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``MODE`` or ``MODE:NUMBER``.

        Raises:
            UsageError: there is no such fault, or the number is not one that it takes.
        """
        name, colon, number = text.partition(":")
        if name not in set(Fault):
            close = difflib.get_close_matches(name, list(Fault), n=1, cutoff=0.5)
            hint = f" (did you mean {str(close[0])!r}?)" if close else ""
            raise UsageError(
                f"there is no fault {name!r}{hint}", next_step=f"choose from: {', '.join(Fault)}"
            )
        fault = Fault(name)
        takes = ARGUMENTS.get(fault)
        if takes is None:
            if colon:
                raise UsageError(f"fault {name!r} takes no number, found {number!r}")
            return cls(fault)
        if not colon:
            return cls(fault, takes.default)
        if not _NUMBER.fullmatch(number) or not takes.least <= float(number) <= takes.most:
            raise UsageError(
                f"fault {name!r}: expected {takes.meaning}, {takes.least:g} to {takes.most:g}, "
                f"found {number!r}",
                next_step=f"for example: {name}:{takes.default:g}",
            )
        return cls(fault, float(number))

    def __str__(self) -> str:
        """Return what :meth:`parse` reads."""
        return f"{self.fault}:{self.number:g}" if self.fault in ARGUMENTS else str(self.fault)


HEALTHY = Injected(Fault.NONE)
"""Nothing is broken."""


def fitting(text: str, *, exact: bool, firmware: bool) -> str:
    """Return a fault as it is written in full, if a board can have it.

    ``firmware`` says whether the board has firmware that loads its kernel.

    Raises:
        UsageError: there is no such fault, or the board lacks what it breaks.
    """
    injected = Injected.parse(text)
    if exact and injected.fault in NOT_EXACT:
        raise UsageError(
            f"fault {str(injected.fault)!r}: an exact board has nothing that it breaks"
        )
    if injected.fault is Fault.NO_KERNEL_FILE and not firmware:
        raise UsageError(
            f"fault {str(injected.fault)!r}: QEMU itself loads this board's kernel",
            next_step="give it to a board whose firmware does, such as one of type virt-uboot",
        )
    return str(injected)
