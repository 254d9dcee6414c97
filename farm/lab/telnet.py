"""Telnet's commands (RFC 854, with the options of RFC 2217) taken out of what a client types.

``labgrid-client console`` starts ``microcom -t``, which talks telnet to every serial port. The
rack's are raw ones: what it asks for (speed, flow control) means nothing to a virtual board.
"""

from __future__ import annotations

from enum import Enum, auto

_SE, _SB, _WILL, _DONT, _IAC = 240, 250, 251, 254, 255

MAX_SUBNEGOTIATION = 64
"""Bytes of one subnegotiation; what follows is input again. RFC 2217's longest have five."""


class _In(Enum):
    TEXT = auto()
    COMMAND = auto()  # after IAC
    OPTION = auto()  # after IAC WILL, WONT, DO or DONT
    SUBNEGOTIATION = auto()
    SUBNEGOTIATION_COMMAND = auto()  # after IAC in one


class Telnet:
    """What one client sends, in pieces of any size.

    An IAC that no telnet command follows is input as it stands, so a client that talks no telnet is
    not disturbed, unless it types byte 255 twice, which telnet has stand for one.
    """

    def __init__(self) -> None:
        """Expect input."""
        self._state = _In.TEXT
        self._left = 0
        self.spoken = False

    def input(self, data: bytes) -> bytes:
        """Return what of the next piece is input; :attr:`spoken` tells whether a command came."""
        if self._state is _In.TEXT and _IAC not in data:
            return data
        found = bytearray()
        for byte in data:
            self._take(byte, found)
        return bytes(found)

    def output(self, data: bytes) -> bytes:
        """Return output as the client reads it: telnet's clients take a single 255 for IAC."""
        return data.replace(b"\xff", b"\xff\xff") if self.spoken else data

    def _take(self, byte: int, found: bytearray) -> None:
        match self._state:
            case _In.TEXT if byte == _IAC:
                self._state = _In.COMMAND
            case _In.TEXT:
                found.append(byte)
            case _In.COMMAND:
                self._state = self._command(byte, found)
            case _In.OPTION:
                self._state = _In.TEXT
            case _In.SUBNEGOTIATION | _In.SUBNEGOTIATION_COMMAND:
                self._state = self._subnegotiation(byte)

    def _command(self, byte: int, found: bytearray) -> _In:
        if byte == _IAC or byte < _SE:
            found += bytes([byte]) if byte == _IAC else bytes([_IAC, byte])
            return _In.TEXT
        self.spoken = True
        self._left = MAX_SUBNEGOTIATION
        if byte == _SB:
            return _In.SUBNEGOTIATION
        return _In.OPTION if _WILL <= byte <= _DONT else _In.TEXT

    def _subnegotiation(self, byte: int) -> _In:
        self._left -= 1
        if self._left <= 0 or (self._state is _In.SUBNEGOTIATION_COMMAND and byte == _SE):
            return _In.TEXT
        if self._state is _In.SUBNEGOTIATION and byte == _IAC:
            return _In.SUBNEGOTIATION_COMMAND
        return _In.SUBNEGOTIATION
