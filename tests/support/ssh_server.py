"""An SSH server on loopback that runs commands with this machine's shell, or has them answered."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import paramiko


class ShellServer:
    """Accepts one user's key and runs each exec request in ``folder``.

    ``answer`` gets channel and command instead, in a thread of its own. Servers of one folder have
    the same keys.
    """

    def __init__(self, folder: Path, answer: Callable[[paramiko.Channel, str], None] | None = None):
        self.folder = folder
        self.answer = answer
        self.asked: Callable[[], int] | None = None
        """What is said, instead of yes, to whoever logs in with the right key."""
        self.disabled: dict[str, list[str]] = {}
        """Algorithms that it does not take (paramiko's ``disabled_algorithms``)."""
        self.key_file = folder / "client_key"
        self.host_key = _key(folder / "host_key")
        self.accepted = _key(self.key_file).asbytes()
        self.transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def host_key_text(self) -> str:
        return f"{self.host_key.get_name()} {self.host_key.get_base64()}"

    def drop(self) -> None:
        """Close every connection, as a board does that loses its power."""
        for transport in self.transports:
            transport.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection, disabled_algorithms=self.disabled)
            transport.add_server_key(self.host_key)
            self.transports.append(transport)
            with contextlib.suppress(EOFError, paramiko.SSHException):
                transport.start_server(event=threading.Event(), server=_Interface(self))


def _key(file: Path) -> paramiko.ECDSAKey:
    if not file.exists():
        paramiko.ECDSAKey.generate().write_private_key_file(str(file))
    return paramiko.ECDSAKey.from_private_key_file(str(file))


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: ShellServer) -> None:
        self._server = server

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "root" and key.asbytes() == self._server.accepted
        if known and self._server.asked is not None:
            return self._server.asked()
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        target, word = self._run, command
        if self._server.answer is not None:
            target, word = self._server.answer, command.decode()
        threading.Thread(target=target, args=(channel, word), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        process = subprocess.Popen(
            ["sh", "-c", command.decode()],
            cwd=self._server.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
        )
        assert process.stdin and process.stdout and process.stderr
        feeder = threading.Thread(target=self._feed, args=(channel, process), daemon=True)
        feeder.start()
        # The status goes out when the command ends, whatever its children keep open.
        waiter = threading.Thread(target=self._await, args=(channel, process), daemon=True)
        waiter.start()
        with (
            contextlib.suppress(OSError, paramiko.SSHException),
            selectors.DefaultSelector() as selector,
        ):
            selector.register(process.stdout, selectors.EVENT_READ, channel.sendall)
            selector.register(process.stderr, selectors.EVENT_READ, channel.sendall_stderr)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 65536)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
        if channel.closed:
            process.kill()
        waiter.join(timeout=10)
        channel.close()
        feeder.join(timeout=10)
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                stream.close()

    @staticmethod
    def _await(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.send_exit_status(status if status >= 0 else 128 - status)

    @staticmethod
    def _feed(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            while data := channel.recv(65536):
                process.stdin.write(data)
                process.stdin.flush()
            process.stdin.close()
        if channel.closed:
            process.kill()
