"""A mail server and a web server on loopback that keep what they are sent."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class MailServer:
    """Speaks enough SMTP (RFC 5321) for a client that sends mail; ``answers`` replace its own.

    They are given by command (``MAIL``, ``RCPT``, ``DATA`` …) and used up one by one.
    """

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    answers: dict[str, list[str]] = field(default_factory=dict)
    sessions: int = 0

    def own_answer(self, command: str) -> str:
        waiting = self.answers.get(command, [])
        return waiting.pop(0) if waiting else ""


@dataclass
class WebServer:
    """Answers each POST with the next of ``statuses``, or 200, and keeps what was posted."""

    url: str = ""
    posts: list[Any] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    kept = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            kept.sessions += 1
            self._say("220 here")
            while line := self.rfile.readline(1000):
                command = line.split(b" ", 1)[0].strip().decode("ascii", "replace").upper()
                if own := kept.own_answer(command):
                    self._say(own)
                elif command == "DATA":
                    self._say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    text = b"".join(line.removeprefix(b".") for line in lines)
                    letter = message_from_bytes(text, policy=default)
                    assert isinstance(letter, EmailMessage)
                    kept.letters.append(letter)
                    self._say("250 kept")
                elif command == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 ok")

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        kept.port = port
        yield kept


@contextmanager
def web_server() -> Iterator[WebServer]:
    kept = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(kept.statuses.pop(0) if kept.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        kept.url = f"http://127.0.0.1:{port}/services/secret"
        yield kept


@contextmanager
def serving(server: socketserver.ThreadingTCPServer) -> Iterator[int]:
    """Serve in threads for the time being; gives the port."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
