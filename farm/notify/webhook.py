"""A webhook that takes Slack's JSON, as Mattermost, Rocket.Chat and others do, too."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from farm.errors import UsageError
from farm.notify.channel import Message, NotTold

TIMEOUT_S = 20.0
CHECK_S = 5.0
"""How long who is only to be checked may take to answer, in seconds."""
MAX_TEXT = 3000
"""Characters of text that are sent; Slack cuts longer ones into pieces."""

_URL = "for example https://chat.example.org/hooks/xyz"
_LATER = (408, 429)
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Webhook:
    """Posts ``{"text": …}`` to a URL, whose path may be a secret and is never shown."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Post to this URL.

        Raises:
            UsageError: it is none.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname if parts.port != 0 else None
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or not url.isprintable():
            raise UsageError("a webhook wants an http:// or https:// URL", next_step=_URL)
        self.to = f"webhook at {host}"
        self._url = url
        self._timeout_s = timeout_s

    def check(self) -> None:
        """Find out whether anybody answers there, whatever to.

        Raises:
            NotTold: nobody does.
        """
        request = urllib.request.Request(self._url, headers={"User-Agent": "farm"}, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=CHECK_S).close()
        except urllib.error.HTTPError as error:
            error.close()  # a HEAD is not what it is for
        except urllib.error.URLError as error:
            raise NotTold(f"{self.to} cannot be reached: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise NotTold(f"{self.to} cannot be reached: {error}") from error

    def send(self, message: Message) -> None:
        """Post a message.

        Raises:
            NotTold: nobody answers, or with an error; a final one where it will again.
        """
        request = urllib.request.Request(
            self._url,
            data=json.dumps({"text": slack_text(message)}).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "farm"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(200).decode("utf-8", "replace")
            final = 400 <= error.code < 500 and error.code not in _LATER
            raise NotTold(f"{self.to} answered {error.code}: {said}", final=final) from error
        except urllib.error.URLError as error:
            raise NotTold(f"{self.to} cannot be reached: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise NotTold(f"{self.to} cannot be reached: {error}") from error


def slack_text(message: Message) -> str:
    """Return a message as Slack's text: its three characters escaped, and not too long."""
    text = f"{message.subject}\n{message.text}"
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return "".join(_ESCAPES.get(char, char) for char in text)
