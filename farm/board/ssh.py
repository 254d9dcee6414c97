"""SSH to one board on paramiko: commands, files and channels, all with time limits.

The board's host key is pinned: a board that shows another one is refused, and no key is ever
learnt. Files go through ``cat``, since small boards have no sftp server, and are checked by size
and SHA-256 before they take their name.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import posixpath
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from farm.errors import BoardError, LinkLost

MAX_OUTPUT = 4 << 20
"""Bytes of each of a command's output streams that are kept."""
_POLL_S = 0.05
_STRAGGLERS_S = 2.0
_CHUNK = 32 << 10
_KEEPALIVE_S = 5
_BANNER = b"SSH-"
_THERE, _WANTED = "farm:there", "farm:wanted"
"""What the board says of a file before it is sent."""


@dataclass(frozen=True, slots=True)
class SshAddress:
    """Where a board's SSH service is, and who may talk to it.

    ``key`` is the private key's file; ``host_key`` the pinned public key as ``type base64``.
    """

    host: str
    port: int
    username: str
    key: Path
    host_key: str


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a command printed, and its exit status."""

    stdout: bytes
    stderr: bytes
    status: int


class SshLink:
    """One SSH connection to a board."""

    def __init__(self, address: SshAddress) -> None:
        """Prepare a connection."""
        self._address = address
        self._transport: paramiko.Transport | None = None
        self._dialled: socket.socket | None = None
        self._timeout = 10.0

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as this side knows."""
        return self._transport is not None and self._transport.is_active()

    def dial(self, timeout: float) -> bool:
        """Return whether an SSH server sends its banner within ``timeout`` seconds.

        :meth:`connect` then goes on with that connection.
        """
        self.close()
        connection = None
        try:
            connection = self._tcp(timeout)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(_BANNER))
            if connection.recv(len(_BANNER), socket.MSG_PEEK) == _BANNER:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                self._dialled, connection = connection, None
        except OSError:
            pass  # it does not answer yet
        finally:
            if connection is not None:
                connection.close()
        return self._dialled is not None

    def connect(self, timeout: float) -> None:
        """Connect, unless that is done, and log in.

        Raises:
            BoardError: the host key is not the pinned one, or the board refuses our key.
            LinkLost: the board did not answer in time.
        """
        where = self._where
        pinned = _public_key(self._address.host_key, where)
        client_key = self._client_key()
        dialled, self._dialled = self._dialled, None
        self.close()
        self._timeout = timeout
        try:
            transport = paramiko.Transport(dialled or self._tcp(timeout))
        except (OSError, paramiko.SSHException) as error:
            raise LinkLost(f"{where}: no connection: {error}") from error
        try:
            transport.banner_timeout = transport.auth_timeout = timeout
            transport.get_security_options().key_types = _algorithms(pinned)
            transport.start_client(timeout=timeout)
            shown = transport.get_remote_server_key()
            if shown.asbytes() != pinned.asbytes():
                raise BoardError(
                    f"{where}: host key is {_fingerprint(shown)}, expected {_fingerprint(pinned)}",
                    next_step="another machine answers there, or the board was installed anew: "
                    "check the board, then pin its new key",
                )
            self._log_in(transport, client_key)
            transport.set_keepalive(_KEEPALIVE_S)
        except paramiko.ssh_exception.IncompatiblePeer as error:
            transport.close()
            raise BoardError(
                f"{where}: the board has no host key of the pinned type {pinned.get_name()}"
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            transport.close()
            raise LinkLost(f"{where}: SSH did not come up: {str(error) or 'closed'}") from error
        except BaseException:
            transport.close()
            raise
        self._transport = transport

    def close(self) -> None:
        """Close the connection; never raises."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        dialled, self._dialled = self._dialled, None
        if dialled is not None:
            dialled.close()

    def run(
        self, command: str, *, timeout: float, stdin: Iterator[bytes] | None = None
    ) -> CommandOutput:
        """Run a shell command on the board; output beyond :data:`MAX_OUTPUT` is dropped.

        Raises:
            BoardError: the command did not end within ``timeout`` seconds.
            LinkLost: the connection closed.
        """
        with self._session(command, timeout) as channel:
            return self._finish(channel, command, timeout, stdin)

    def put(
        self,
        source: Path,
        destination: str,
        *,
        timeout: float,
        mode: int = 0o644,
        parents: bool = False,
    ) -> bool:
        """Copy a file to the board, unless it is there; return whether its bytes had to be sent.

        It appears under its name whole or not at all. ``parents`` makes its folder, too.

        Raises:
            BoardError: it could not be written, or arrived damaged.
        """
        part = shlex.quote(f"{destination}.part-{os.getpid()}")
        name = shlex.quote(destination)
        made = f"mkdir -p {shlex.quote(posixpath.dirname(destination))} && " if parents else ""
        command = (
            'said() { set -- $(sha256sum < "$1") $(wc -c < "$1"); echo "$1, $3 bytes"; }; '
            f'whole="{_sha256(source)}, {source.stat().st_size} bytes"; '
            f'{made}if [ -f {name} ] && [ "$(said {name})" = "$whole" ]; '
            f"then chmod {mode:o} {name} && echo {_THERE}; else echo {_WANTED}; "
            f'cat > {part} && if [ "$(said {part})" = "$whole" ]; '
            f"then chmod {mode:o} {part} && mv -f {part} {name}; "
            f'else echo "arrived as $(said {part})" >&2; rm -f {part}; exit 9; fi; fi'
        )
        with self._session(command, timeout) as channel, source.open("rb") as stream:
            wanted = self._is_wanted(channel, timeout)
            content = iter(lambda: stream.read(_CHUNK), b"") if wanted else None
            done = self._finish(channel, command, timeout, content)
        if done.status != 0:
            raise BoardError(
                f"{self._where}: {source.name} could not be copied to {destination}: "
                f"{_text(done.stderr) or f'exit status {done.status}'}"
            )
        return wanted

    def get(self, source: str, destination: Path, *, timeout: float) -> None:
        """Copy a file of up to :data:`MAX_OUTPUT` bytes from the board.

        Raises:
            BoardError: it could not be read, is too large, or arrived damaged.
        """
        name = shlex.quote(source)
        done = self.run(
            f"sha256sum < {name} >&2 && wc -c < {name} >&2 && cat {name}", timeout=timeout
        )
        words = _text(done.stderr).split()
        size = int(words[2]) if len(words) == 3 and words[2].isdecimal() else -1
        if done.status != 0 or size < 0:
            raise BoardError(f"{self._where}: {source} cannot be read: {_text(done.stderr)}")
        if size > MAX_OUTPUT:
            raise BoardError(f"{self._where}: {source} has {size} bytes, limit is {MAX_OUTPUT}")
        digest = hashlib.sha256(done.stdout).hexdigest()
        if (words[0], size) != (digest, len(done.stdout)):
            raise BoardError(f"{self._where}: {source} arrived damaged, or is being written")
        part = destination.with_name(f"{destination.name}.part-{os.getpid()}")
        part.write_bytes(done.stdout)
        part.replace(destination)

    def open_channel(self, argv: Sequence[str]) -> SshChannel:
        """Start a program on the board and return its standard input and output.

        Raises:
            LinkLost: the connection closed.
        """
        return SshChannel(self._start(shlex.join(argv), self._timeout), self._where)

    @property
    def _where(self) -> str:
        return f"{self._address.username}@{self._address.host}:{self._address.port}"

    def _client_key(self) -> paramiko.PKey:
        try:
            return paramiko.PKey.from_path(self._address.key)
        except (OSError, ValueError, TypeError, paramiko.SSHException, UnknownKeyType) as error:
            # TypeError: cryptography's way to ask for a passphrase.
            raise BoardError(
                f"{self._where}: the key {self._address.key} cannot be used: {error}",
                next_step="name a private key without a passphrase in farm.ssh.key",
            ) from error

    def _log_in(self, transport: paramiko.Transport, key: paramiko.PKey) -> None:
        """Log in, and tell a board that says no from one that goes away while it is asked.

        A board that reboots does the latter, and Transport.auth_publickey() on its own raises
        the same AuthenticationException for both (paramiko 5, auth_handler.wait_for_response).
        """
        answered = threading.Event()
        transport.auth_publickey(self._address.username, key, answered)
        in_time = answered.wait(self._timeout)
        if transport.is_authenticated():
            return
        asked = f"{self._address.username} with key {self._address.key}"
        if not in_time:
            raise LinkLost(f"{self._where}: {asked}: no answer within {self._timeout:g} s")
        error = transport.get_exception()
        if transport.is_active() or isinstance(error, paramiko.AuthenticationException):
            raise BoardError(f"{self._where}: {asked} is refused" + (f": {error}" if error else ""))
        raise LinkLost(f"{self._where}: logging in as {asked}: {str(error or '') or 'closed'}")

    def _tcp(self, timeout: float) -> socket.socket:
        where = (self._address.host, self._address.port)
        connection = socket.create_connection(where, timeout)
        # Many small packets, most of them answered before the next: none should wait for an ACK.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _start(self, command: str, timeout: float) -> paramiko.Channel:
        if self._transport is None or not self._transport.is_active():
            raise LinkLost(f"{self._where}: not connected")
        try:
            channel = self._transport.open_session(timeout=timeout)
            channel.settimeout(timeout)
            channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LinkLost(f"{self._where}: no channel for {_short(command)}: {error}") from error
        return channel

    @contextlib.contextmanager
    def _session(self, command: str, timeout: float) -> Iterator[paramiko.Channel]:
        channel = self._start(command, timeout)
        try:
            yield channel
        finally:
            channel.close()

    def _is_wanted(self, channel: paramiko.Channel, timeout: float) -> bool:
        """Return whether the board wants a file's bytes; what else its shell says is dropped."""
        deadline = time.monotonic() + timeout
        line = b""
        with contextlib.suppress(TimeoutError):
            while (left := deadline - time.monotonic()) > 0:
                channel.settimeout(left)
                byte = channel.recv(1)
                line += byte
                if not byte or byte == b"\n":
                    word = _text(line)
                    if not byte or word in (_THERE, _WANTED):
                        return word == _WANTED
                if byte == b"\n" or len(line) > _CHUNK:
                    line = b""
        return False

    def _finish(
        self,
        channel: paramiko.Channel,
        command: str,
        timeout: float,
        stdin: Iterator[bytes] | None,
    ) -> CommandOutput:
        """Send a command its input, and return what it prints, once it has ended."""
        deadline = time.monotonic() + timeout
        out, err = bytearray(), bytearray()
        over = 0.0
        channel.settimeout(_POLL_S)
        pending = b""
        if stdin is None:
            channel.shutdown_write()
        while not _ended(channel):
            now = time.monotonic()
            if channel.exit_status_ready():
                # Output may follow the status; a child left behind may keep it open for ever.
                over = over or now + _STRAGGLERS_S
                if now > over:
                    break
            elif now > deadline:
                raise BoardError(
                    f"{self._where}: {_short(command)} did not end within {timeout:g} s"
                )
            _receive(channel, out, err)
            if stdin is None:
                _await_more(channel, out)
                continue
            pending = pending or next(stdin, b"")
            if pending:
                pending = pending[self._send(channel, pending) :]
            else:
                channel.shutdown_write()
                stdin = None
        _receive(channel, out, err)
        status = channel.recv_exit_status() if channel.exit_status_ready() else -1
        if status < 0:
            raise LinkLost(f"{self._where}: the link closed during {_short(command)}")
        return CommandOutput(bytes(out), bytes(err), status)

    def _send(self, channel: paramiko.Channel, chunk: bytes) -> int:
        """Return how many bytes the board took before a short wait was over."""
        try:
            return channel.send(chunk)
        except TimeoutError:
            return 0
        except OSError as error:
            if channel.exit_status_ready():  # it ended without reading the rest
                return len(chunk)
            raise LinkLost(f"{self._where}: the link closed: {error}") from error


class SshChannel:
    """A program's standard input and output: a :class:`farm.board.channel.Transport`."""

    def __init__(self, channel: paramiko.Channel, where: str) -> None:
        """Wrap an open channel."""
        self._channel = channel
        self._where = where

    def read(self, timeout: float) -> bytes:
        """Return what has come, or nothing after ``timeout`` seconds.

        Raises:
            LinkLost: the program ended or the link closed.
        """
        self._channel.settimeout(max(timeout, 0.001))
        try:
            data = self._channel.recv(_CHUNK)
        except TimeoutError:
            return b""
        except OSError as error:
            raise LinkLost(f"{self._where}: the link closed: {error}") from error
        if not data:
            raise LinkLost(f"{self._where}: the payload's channel closed{self._last_words()}")
        return data

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            LinkLost: the program ended or the link closed.
        """
        self._channel.settimeout(10.0)
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise LinkLost(f"{self._where}: the link closed: {error}") from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _last_words(self) -> str:
        if not self._channel.recv_stderr_ready():
            return ""
        return f": {_text(self._channel.recv_stderr(4096))}"


def _receive(channel: paramiko.Channel, out: bytearray, err: bytearray) -> None:
    while channel.recv_ready():
        out += channel.recv(_CHUNK)[: MAX_OUTPUT - len(out)]
    while channel.recv_stderr_ready():
        err += channel.recv_stderr(_CHUNK)[: MAX_OUTPUT - len(err)]


def _await_more(channel: paramiko.Channel, out: bytearray) -> None:
    """Wait a little for output, the end of it, or the exit status."""
    if channel.eof_received:
        channel.status_event.wait(_POLL_S)
        return
    with contextlib.suppress(TimeoutError):
        out += channel.recv(_CHUNK)[: MAX_OUTPUT - len(out)]


def _ended(channel: paramiko.Channel) -> bool:
    if channel.recv_ready() or channel.recv_stderr_ready():
        return False
    return bool(channel.closed or (channel.eof_received and channel.exit_status_ready()))


def _algorithms(key: paramiko.PKey) -> tuple[str, ...]:
    if key.get_name() == "ssh-rsa":
        return ("rsa-sha2-512", "rsa-sha2-256")
    return (key.get_name(),)


def _public_key(text: str, where: str) -> paramiko.PKey:
    words = text.split()
    try:
        kind, blob = words[0], words[1]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
    except (IndexError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise BoardError(
            f"{where}: no host key is pinned: {text[:40]!r} is not 'type base64'",
            next_step="write the board's public host key into its board config",
        ) from error


def _fingerprint(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _short(command: str) -> str:
    return repr(command if len(command) <= 60 else f"{command[:60]}…")


def _text(data: bytes) -> str:
    return data[:2000].decode("utf-8", errors="backslashreplace").strip()
