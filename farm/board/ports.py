"""Serial ports through pyserial, in the one form that the recorder reads."""

from __future__ import annotations

import serial
from serial.urlhandler import protocol_socket

_WAIT_S = 0.25
_CHUNK = 65536


class _RawTcp(protocol_socket.Serial):  # type: ignore[misc]
    """pyserial's TCP port, less its habit of throwing away what has already come."""

    def reset_input_buffer(self) -> None:
        """Keep what the board said before this end was ready."""


class SerialReader:
    """An open serial port: a :class:`farm.board.recorder.Port`."""

    def __init__(self, port: serial.SerialBase) -> None:
        """Wrap an open pyserial port."""
        self._port = port

    def read(self) -> bytes:
        """Return what has come, or nothing after a quarter of a second.

        Raises:
            OSError: the port is gone.
        """
        if isinstance(self._port, _RawTcp):
            # Its in_waiting says only whether there is something: ask for the rest by hand.
            self._port.timeout = _WAIT_S
            data = bytes(self._port.read(1))
            if data:
                self._port.timeout = 0
                data += bytes(self._port.read(_CHUNK))
            return data
        return bytes(self._port.read(max(1, self._port.in_waiting)))

    def write(self, data: bytes) -> None:
        """Send bytes to the board."""
        self._port.write(data)

    def close(self) -> None:
        """Close the port."""
        self._port.close()


def open_local(device: str, speed: int) -> SerialReader:
    """Open a serial port of this machine."""
    return SerialReader(serial.Serial(device, speed, timeout=_WAIT_S))


def open_tcp(host: str, port: int) -> SerialReader:
    """Open a raw TCP serial port."""
    return SerialReader(_RawTcp(f"socket://{host}:{port}/", timeout=_WAIT_S))


def open_rfc2217(host: str, port: int, speed: int) -> SerialReader:
    """Open an RFC 2217 serial port."""
    url = f"rfc2217://{host}:{port}?ign_set_control&timeout=3"
    return SerialReader(serial.serial_for_url(url, speed, timeout=_WAIT_S))
