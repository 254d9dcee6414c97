"""E-mail over SMTP."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

from farm.errors import UsageError
from farm.notify.channel import Message, NotTold

TIMEOUT_S = 20.0
CHECK_S = 5.0
"""How long a server may take to answer that is only to be checked, in seconds."""
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SAY = "smtp://HOST[:PORT], smtp+starttls://HOST[:PORT] or smtps://HOST[:PORT]"


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server and how to be let in; ``user`` is empty where it asks for nobody."""

    scheme: str
    host: str
    port: int
    sender: str
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Return what it is, without the password."""
        return f"{self.scheme}://{self.host}:{self.port}"


def server(
    url: str, *, sender: str = "", user: str = "", password: str = "", password_file: str = ""
) -> Server:
    """Return the mail server of the settings.

    ``password_file`` is read where there is no ``password``, as systemd's credentials are given.

    Raises:
        UsageError: a setting is missing or wrong; the password is never told.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--smtp: expected {_SAY}, found {_shown(url)!r}") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"--smtp: expected {_SAY}, found {_shown(url)!r}")
    if parts.username or parts.password:
        raise UsageError(
            "--smtp: holds a user or a password",
            next_step="give --smtp-user, and the password in FARM_SMTP_PASSWORD or a file that "
            "FARM_SMTP_PASSWORD_FILE names",
        )
    if not password and password_file:
        try:
            password = Path(password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"FARM_SMTP_PASSWORD_FILE: {password_file}: {error}") from error
    if bool(user) is not bool(password):
        raise UsageError(
            f"the mail server {parts.hostname} has "
            + ("a password and no user" if password else "a user and no password"),
            next_step="give both --smtp-user and FARM_SMTP_PASSWORD, or neither",
        )
    if user and parts.scheme == "smtp" and parts.hostname not in _LOOPBACK:
        raise UsageError(
            f"--smtp: a password would go to {parts.hostname} unencrypted",
            next_step="use smtp+starttls:// or smtps://",
        )
    if sender and not sender.isprintable():
        raise UsageError(f"--smtp-from: expected an address, found {sender!r}")
    return Server(
        parts.scheme, parts.hostname, port or _PORTS[parts.scheme], sender or "farm@localhost",
        user, password,
    )  # fmt: skip


def _shown(url: str) -> str:
    """Return a URL as it may be shown: without what stands before an ``@``."""
    head, at, tail = url.rpartition("@")
    return f"…@{tail}" if at else tail if not head else url


class Mail:
    """Sends the morning report to addresses: the text, and its page as an attachment."""

    def __init__(self, to: Sequence[str], server: Server, *, timeout_s: float = TIMEOUT_S) -> None:
        """Send to these addresses by this server."""
        self.to = f"mail to {', '.join(to)}"
        self._addresses = list(to)
        self._server = server
        self._timeout_s = timeout_s

    def check(self) -> None:
        """Find out whether the server answers.

        Raises:
            NotTold: it does not, or has no TLS where that was asked for.
        """
        try:
            with self._connected(CHECK_S) as connection:
                connection.noop()
        except (OSError, smtplib.SMTPException) as error:
            raise NotTold(f"{self._server!r} cannot be reached: {error}") from error

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            NotTold: the server cannot be reached, or refuses; a final one where it will again.
        """
        letter = self._letter(message)
        try:
            with self._connected(self._timeout_s) as connection:
                if self._server.user:
                    connection.login(self._server.user, self._server.password)
                refused = connection.send_message(letter)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
            raise NotTold(
                f"{self._server!r} answered {error.smtp_code}: {text[:300]}",
                final=error.smtp_code >= 500,
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotTold(f"{self._server!r}: {error}", final=True) from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotTold(f"{self._server!r} cannot be reached: {error}") from error
        if refused:
            final = all(code >= 500 for code, _ in refused.values())
            names = ", ".join(refused)
            raise NotTold(f"{self._server!r} does not take mail for {names}", final=final)

    def _connected(self, timeout_s: float) -> smtplib.SMTP:
        server = self._server
        where = (server.host, server.port)
        if server.scheme == "smtps":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(*where, timeout=timeout_s, context=context)
        connection = smtplib.SMTP(*where, timeout=timeout_s)
        if server.scheme == "smtp+starttls":
            try:
                connection.starttls(context=ssl.create_default_context())
            except BaseException:
                with suppress(OSError, smtplib.SMTPException):
                    connection.close()
                raise
        return connection

    def _letter(self, message: Message) -> EmailMessage:
        letter = EmailMessage()
        letter["From"] = self._server.sender
        letter["To"] = ", ".join(self._addresses)
        letter["Subject"] = " ".join(message.subject.split())
        letter["Date"] = formatdate(localtime=True)
        whom = hashlib.sha256(", ".join(self._addresses).encode()).hexdigest()[:16]
        letter["Message-ID"] = f"<{message.id}.{whom}@farm.invalid>"
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation answers, please
        letter.set_content(message.text)
        letter.add_attachment(message.html, subtype="html", filename="morning.html")
        return letter
