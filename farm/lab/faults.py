"""What can go wrong with a virtual board on command, as it does by itself with a real one."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """A fault of one board of a rack.

    It lasts until another is set; the two momentary ones happen once and change nothing else.
    """

    NONE = "none"
    NO_BOOT = "no-boot"  # power comes on, the CPU never starts: nothing on the serial line
    SERIAL_GARBAGE = "serial-garbage"  # random bytes among those that the board writes
    SERIAL_DEAF = "serial-deaf"  # the board does not get what is typed on its serial line
    NO_KERNEL_FILE = "no-kernel-file"  # the TFTP server has lost the kernel
    BOOT_LOOP = "boot-loop"  # the board resets itself as soon as its kernel starts
    SSH_REFUSE = "ssh-refuse"  # SSH connections are closed as soon as they are opened
    SSH_STALL = "ssh-stall"  # SSH connections stay open, but no byte passes any more
    LINK_DROP = "link-drop"  # momentary: every SSH connection that is open now is cut
    FREEZE = "freeze"  # momentary: the running board stops dead until its power is cut
