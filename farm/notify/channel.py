"""What is told, to whom, and the few times that it is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from farm.errors import InfraError

PAUSES_S = (2.0, 8.0)
"""Pauses before the second and the third try, in seconds."""


class NotTold(InfraError):
    """A message did not get through; ``final`` says that trying again would not help."""

    def __init__(self, message: str, *, final: bool = False, next_step: str = "") -> None:
        """Keep whether to try again beside the sentence."""
        super().__init__(message, next_step=next_step)
        self.final = final


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: a line, a text, the morning report's page, and the same as JSON.

    ``id`` is the same each time that it is sent, so that who gets it twice can tell.
    """

    id: str
    subject: str
    text: str
    html: str
    body: Mapping[str, Any]


class Channel(Protocol):
    """A way to tell somebody; ``to`` says whom, without a secret."""

    to: str

    def check(self) -> None:
        """Find out before the night whether it could be told now, as far as that tells nobody.

        Raises:
            NotTold: whoever takes the message does not answer.
        """

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            NotTold: it did not get through.
        """


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of telling one of them; ``problem`` is empty where it went well."""

    to: str
    tries: int
    problem: str


def doubts(channels: Sequence[Channel]) -> list[str]:
    """Return for each channel why it could not be told now, or nothing."""
    found = []
    for channel in channels:
        try:
            channel.check()
        except NotTold as error:
            found.append(error.message)
        else:
            found.append("")
    return found


def deliver(
    channel: Channel, message: Message, *, sleep: Callable[[float], None] = time.sleep
) -> Delivery:
    """Tell somebody, in a few tries; never raises for what a channel does."""
    problem = ""
    tries = 0
    for pause in (0.0, *PAUSES_S):
        sleep(pause)
        tries += 1
        try:
            channel.send(message)
        except NotTold as error:
            problem = error.message
            if error.final:
                break
        except Exception as error:  # the others are to be told all the same
            problem = f"{type(error).__name__}: {error}"
            break
        else:
            return Delivery(channel.to, tries, "")
    return Delivery(channel.to, tries, problem)
