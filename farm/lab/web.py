"""A very small HTTP/1.1 server on asyncio: short bodies, one request a connection.

It is what an outlet's controller speaks, no more: no keep-alive, no chunks, no files. Whatever is
not a plain request of that kind gets a 4xx answer and the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MAX_HEAD = 8 << 10
MAX_BODY = 256
"""Longest body, unless the server takes longer ones at a path."""
REQUEST_S = 10.0

_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 409: "Conflict", 413: "Content Too Large", 500: "Internal Server Error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A request: ``path`` without query, ``body`` as text, ``content`` as the bytes that came."""

    method: str
    path: str
    content: bytes

    @property
    def body(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status code and plain text."""

    text: str
    status: int = 200


Handler = Callable[[Request], Awaitable[Response]]


class BadRequest(Exception):
    """The bytes are not a request that this server takes; ``status`` is what to answer."""

    def __init__(self, status: int, reason: str) -> None:
        """Keep the status beside the reason."""
        super().__init__(reason)
        self.status = status


def _short(path: str) -> int:
    return MAX_BODY


def parse_head(head: bytes, max_body: Callable[[str], int] = _short) -> tuple[str, str, int]:
    """Return method, path and body length of a request's head (RFC 9112, 3 and 6.2).

    Raises:
        BadRequest: it is none, or asks for more than this server does.
    """
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequest(400, "not a request")
    length = 0
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not line:
            continue
        if not colon:
            raise BadRequest(400, "not a header")
        match name.strip().lower():
            case "content-length":
                digits = value.strip()
                if not (digits.isascii() and digits.isdigit()):
                    raise BadRequest(400, "Content-Length is no number")
                length = int(digits[:10])
            case "transfer-encoding":
                raise BadRequest(400, "Transfer-Encoding is not supported")
            case _:
                pass
    path = words[1].partition("?")[0]
    if length > max_body(path):
        raise BadRequest(413, f"body of more than {max_body(path)} bytes")
    return words[0], path, length


async def _read(reader: asyncio.StreamReader, max_body: Callable[[str], int]) -> Request:
    try:
        async with asyncio.timeout(REQUEST_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, length = parse_head(head[:-4], max_body)
            body = await reader.readexactly(length)
    except TimeoutError as error:
        raise BadRequest(408, "no whole request in time") from error
    except asyncio.LimitOverrunError as error:
        raise BadRequest(413, f"head of more than {MAX_HEAD} bytes") from error
    except asyncio.IncompleteReadError as error:
        raise BadRequest(400, "cut short") from error
    return Request(method, path, body)


async def serve(
    handler: Handler, *, host: str = "127.0.0.1", max_body: Callable[[str], int] = _short
) -> asyncio.Server:
    """Serve requests on a free port of ``host``; what a handler raises becomes a 500 answer.

    ``max_body`` says how many bytes a body may have that is sent to a path.
    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            try:
                response = await handler(await _read(reader, max_body))
            except BadRequest as error:
                response = Response(f"{error}\n", error.status)
            except Exception as error:  # the server outlives whatever a handler does
                response = Response(f"{error}\n", 500)
            body = response.text.encode()
            writer.write(
                f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Other')}\r\n"
                "Content-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except OSError:
            pass  # the client went away; there is nobody to tell
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return await asyncio.start_server(connected, host, 0, limit=MAX_HEAD)


def port(server: asyncio.Server) -> int:
    """Return the port that a server listens on."""
    return int(server.sockets[0].getsockname()[1])
