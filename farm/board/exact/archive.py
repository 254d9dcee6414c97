"""What an exact board is given to do: a cpio archive that is appended to the image's initramfs.

The kernel unpacks joined archives one after the other, and the image's init hands over to
``/farm/run`` where there is one. Everything that could move the rest is kept in place: the archive
and the payload in it have sizes of their own, whatever they hold, since the size of an initramfs
decides where the kernel finds free memory.
"""

from __future__ import annotations

from farm.board.exact.frames import BEGIN
from farm.errors import UsageError
from farm.image.cpio import Tree, pack

ARCHIVE_BYTES = 640 << 10
PAYLOAD_BYTES = 512 << 10

_RUN = f"""#!/bin/busybox sh
# The second half of the first process: one command, its output in frames, and off.
echo '{BEGIN}'
sh /farm/command > /tmp/out 2> /tmp/err < /dev/null
status=$?
[ $status = 0 ] || cat /tmp/err >> /tmp/out
# Nothing that the kernel says may fall between the lines that follow.
dmesg -n 1
/farm/payload frame $status < /tmp/out > /dev/ttyAMA0
poweroff -f
"""


def archive(payload: bytes, command: str, commands: str = "") -> bytes:
    """Return an archive that has the board run a shell command, then switch itself off.

    ``commands`` is what the command finds in ``/farm/input``: lines for ``payload serve``.

    Raises:
        UsageError: the payload or the whole is larger than the space kept for it.
    """
    tree = Tree()
    tree.file("/farm/command", command.encode())
    tree.file("/farm/input", commands.encode())
    tree.file("/farm/payload", _padded(payload, PAYLOAD_BYTES, "the payload"), 0o755)
    tree.file("/farm/run", _RUN.encode(), 0o755)
    return _padded(pack(tree), ARCHIVE_BYTES, "what the board is to do")


def _padded(data: bytes, size: int, what: str) -> bytes:
    if len(data) > size:
        raise UsageError(
            f"{what} has {len(data)} bytes, an exact board has room for {size}",
            next_step="enlarge the sizes in farm/board/exact/archive.py; every number will move",
        )
    return data + bytes(size - len(data))
