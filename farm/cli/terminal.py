"""A terminal on a stream of bytes: what comes is shown as it is, what is typed may be sent."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator

LEAVE = b"\x1d"
"""What is typed to leave: Ctrl-]."""


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Have the terminal give each key as it is, Ctrl-C too."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def connect(address: tuple[str, int], greeting: str, *, typing: bool) -> bool:
    """Show a stream until the user leaves or it ends; return whether it was the user.

    ``greeting`` is shown once the stream is open. Without ``typing``, nothing is sent, and Ctrl-C
    leaves as well.

    Raises:
        OSError: nothing answers at the address.
    """
    keys, screen = sys.stdin.fileno(), sys.stdout.fileno()
    leave = (LEAVE,) if typing else (LEAVE, b"\x03")
    with socket.create_connection(address, timeout=5.0) as stream, _raw(keys):
        _write(screen, f"{greeting}\r\n".encode())
        while True:
            ready, _, _ = select.select([keys, stream], [], [])
            if stream in ready:
                data = _received(stream)
                if not data:
                    return False
                _write(screen, data)
            if keys in ready:
                typed = os.read(keys, 4096)
                if not typed or any(key in typed for key in leave):
                    return True
                if typing:
                    stream.sendall(typed)


def _received(stream: socket.socket) -> bytes:
    try:
        return stream.recv(65536)
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
