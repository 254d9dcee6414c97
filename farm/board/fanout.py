"""Loopback server that hands a stream of bytes on to any number of readers."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable

MAX_PENDING = 1 << 20
"""Bytes that may wait for a slow reader before it is dropped."""


class FanOut:
    """Sends what :meth:`broadcast` gets to every reader; what readers send goes to one function."""

    def __init__(self, on_input: Callable[[bytes], None]) -> None:
        """Listen on a free loopback port."""
        self._on_input = on_input
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        host, port = self._server.getsockname()[:2]
        self.address: tuple[str, int] = (str(host), int(port))
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._lock = threading.Lock()
        self._pending: dict[socket.socket, bytearray] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="console-fanout", daemon=True)
        self._thread.start()

    def broadcast(self, data: bytes) -> None:
        """Queue bytes for every reader; a reader that is too far behind is dropped."""
        self._accept()  # whoever has connected by now shall have it
        with self._lock:
            for pending in self._pending.values():
                pending += data
        self._wake()

    def close(self) -> None:
        """Close the port and every reader."""
        self._closing = True
        self._wake()
        self._thread.join(timeout=5.0)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_write.send(b"w")

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._closing:
                for key, mask in selector.select():
                    if key.fileobj is self._server:
                        self._accept()
                    elif key.fileobj is self._wake_read:
                        self._wake_read.recv(4096)
                    elif isinstance(key.fileobj, socket.socket):
                        self._exchange(selector, key.fileobj, mask)
                self._watch_readers(selector)
            for client in list(self._pending):
                self._drop(selector, client)
        for end in (self._server, self._wake_read, self._wake_write):
            end.close()

    def _accept(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                client.setblocking(False)
                self._pending[client] = bytearray()

    def _exchange(self, selector: selectors.BaseSelector, client: socket.socket, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                data = client.recv(65536)
                if not data:
                    self._drop(selector, client)
                    return
                self._on_input(data)
            if mask & selectors.EVENT_WRITE:
                with self._lock:
                    pending = self._pending[client]
                    del pending[: client.send(pending)]
        except BlockingIOError:
            return
        except OSError:
            self._drop(selector, client)

    def _watch_readers(self, selector: selectors.BaseSelector) -> None:
        with self._lock:
            waiting = {client: len(pending) for client, pending in self._pending.items()}
        for client, size in waiting.items():
            if size > MAX_PENDING:
                self._drop(selector, client)
            else:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if size else 0)
                known = client in selector.get_map()
                (selector.modify if known else selector.register)(client, wanted)

    def _drop(self, selector: selectors.BaseSelector, client: socket.socket) -> None:
        with self._lock:
            self._pending.pop(client, None)
        with contextlib.suppress(KeyError, ValueError):
            selector.unregister(client)
        client.close()
