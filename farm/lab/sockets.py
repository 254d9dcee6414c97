"""The two TCP ports of a virtual board: its serial line and the way to its SSH server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from farm.lab.telnet import Telnet
from farm.lab.web import port

READER_BACKLOG = 8 << 20
"""Serial bytes that may wait for a slow reader before it is cut off."""


class SerialPort:
    """A serial line as a raw TCP port: everyone reads everything, and what anyone writes is input.

    It is open while the board is off; a reader that is connected then sees the first byte of boot.
    A client may talk telnet, which is kept from the board.
    """

    def __init__(self, server_input: Callable[[bytes], None]) -> None:
        """Pass what clients write to ``server_input``."""
        self._input = server_input
        self._clients: dict[asyncio.StreamWriter, Telnet] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> int:
        """Listen on a free loopback port and return it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return port(self._server)

    @property
    def readers(self) -> int:
        """How many clients there are now."""
        return len(self._clients)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        telnet = self._clients[writer] = Telnet()
        try:
            while data := await reader.read(4096):
                if typed := telnet.input(data):
                    self._input(typed)
        except OSError:
            pass  # a reader that vanished has nothing more to say
        finally:
            self._clients.pop(writer, None)
            writer.close()

    def broadcast(self, data: bytes) -> None:
        """Give every reader these bytes; one that is too far behind is cut off."""
        for client, telnet in list(self._clients.items()):
            if client.transport.get_write_buffer_size() > READER_BACKLOG:
                del self._clients[client]
                client.transport.abort()
            else:
                client.write(telnet.output(data))

    def cut(self) -> None:
        """Reset every open connection."""
        for client in list(self._clients):
            client.transport.abort()

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.close()


class Relay:
    """A TCP port that leads to another, if there is one now, and that can be cut or stalled.

    A connection is used from the first byte on that its client sends.
    """

    def __init__(self, target: Callable[[], int], used: Callable[[], None]) -> None:
        """Ask ``target`` for the port of each new connection; 0 means that nobody is there.

        ``used`` is called when a connection begins to be used.
        """
        self._target = target
        self._used = used
        self.cut_after: float | None = None
        """So many seconds after it was first used, a connection is cut."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def open(self) -> int:
        """Listen on a free loopback port and return it."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return port(self._server)

    def stall(self, stalled: bool) -> None:
        """Hold every connection's bytes back, or let them flow again."""
        if stalled:
            self._flowing.clear()
        else:
            self._flowing.set()

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._target()
        if not target:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, far_writer, lambda: self._use(writer)))
                both.create_task(self._copy(far_reader, writer, lambda: None))
        finally:
            self._writers -= {writer, far_writer}
            for end in (writer, far_writer):
                end.close()

    def _use(self, client: asyncio.StreamWriter) -> None:
        self._used()
        if self.cut_after is not None:
            asyncio.get_running_loop().call_later(self.cut_after, client.transport.abort)

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        begun: Callable[[], None],
    ) -> None:
        first = True
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if first:
                    begun()
                first = False
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
