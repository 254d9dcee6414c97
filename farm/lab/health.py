"""Health of boards: failures in a row, quarantine and re-admission, kept for each lab's places.

One small file per place below ``state_dir()/health/``, written whole and fsynced. What a place's
file says is this controller's knowledge; a file that cannot be read counts as none. The rules are
pure functions of a :class:`Health`, a board type's :class:`~farm.inventory.HealthRule` and the time
in seconds since the epoch.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from farm import paths
from farm.inventory import HealthRule
from farm.lab import durable

MAX_REASON = 500
"""Characters of a reason that are kept."""

_LARGEST = 1 << 20
_Times: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, float])
_HOUR = 3600.0


class Health(BaseModel):
    """What is known of one place's health.

    ``checked`` is when the last check ended, 0 if there was none; ``failures`` are those in a row
    up to now, and ``reason`` is the last one's. ``quarantined`` is since when nobody is to get the
    board, 0 if it is well; ``retry`` is when it is to be tried again, 0 if only a person will
    re-admit it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: int = 1
    place: str
    checked: float = 0.0
    failures: int = 0
    reason: str = ""
    quarantined: float = 0.0
    retry: float = 0.0

    def __str__(self) -> str:
        """Say in a sentence why the board is quarantined, or that it is not."""
        if not self.quarantined:
            return "not quarantined"
        since = f"quarantined since {_moment(self.quarantined)}"
        if not self.retry:
            return f"{since} by hand: {self.reason}"
        times = "1 failure" if self.failures == 1 else f"{self.failures} failures in a row"
        return f"{since}: {times}, the last: {self.reason}; next try {_moment(self.retry)}"


def after_failure(health: Health, reason: str, rule: HealthRule, now: float) -> Health:
    """Return a board's health after a failure that it is to blame for."""
    failures = health.failures + 1
    reason = reason[:MAX_REASON]
    changed = {"checked": now, "failures": failures}
    if health.quarantined and not health.retry:
        return health.model_copy(update=changed)  # a person's reason stays
    if failures < rule.failures and not health.quarantined:
        return health.model_copy(update={**changed, "reason": reason})
    tries = max(0, min(failures - rule.failures, 16))
    wait_h = min(rule.retry_h * 2**tries, max(rule.every_h, rule.retry_h))
    return health.model_copy(
        update={
            **changed,
            "reason": reason,
            "quarantined": health.quarantined or now,
            "retry": now + wait_h * _HOUR,
        }
    )


def after_pass(health: Health, now: float) -> Health:
    """Return a board's health after a check that it passed: re-admitted, unless by hand."""
    if health.quarantined and not health.retry:
        return health.model_copy(update={"checked": now, "failures": 0})
    return Health(place=health.place, checked=now)


def by_hand(health: Health, reason: str, now: float) -> Health:
    """Return the health of a board that a person takes out of use."""
    return health.model_copy(
        update={"reason": reason[:MAX_REASON], "quarantined": now, "retry": 0.0}
    )


def due(health: Health, rule: HealthRule, now: float) -> bool:
    """Return whether a board is to be checked now; one quarantined by hand never is."""
    if health.quarantined:
        return bool(health.retry) and (now >= health.retry or now < health.checked)
    return not 0 <= now - health.checked < rule.every_h * _HOUR


class HealthBook:
    """What this controller knows of the places of the lab at ``coordinator`` (``host:port``)."""

    def __init__(self, coordinator: str, *, clock: Callable[[], float] = time.time) -> None:
        """Open the book; nothing is written before something happens."""
        self._folder = paths.state_dir() / "health" / quote(coordinator, safe="")
        self._clock = clock

    def of(self, place: str) -> Health:
        """Return a place's health; one of which nothing is known is well."""
        try:
            with self._path(place).open("rb") as stream:
                return Health.model_validate_json(stream.read(_LARGEST))
        except (OSError, ValidationError):
            return Health(place=place)

    def quarantined(self, place: str) -> str | None:
        """Return why nobody is to get a place's board, or nothing if it may be had."""
        health = self.of(place)
        return str(health) if health.quarantined else None

    def due(self, place: str, rule: HealthRule) -> bool:
        """Return whether a place's board is to be checked now."""
        return due(self.of(place), rule, self._clock())

    def failed(self, place: str, reason: str, rule: HealthRule) -> Health:
        """Write down a failure that a place's board is to blame for."""
        return self._change(place, lambda old: after_failure(old, reason, rule, self._clock()))

    def passed(self, place: str) -> Health:
        """Write down a check that a place's board passed."""
        return self._change(place, lambda old: after_pass(old, self._clock()))

    def quarantine(self, place: str, reason: str) -> Health:
        """Take a place's board out of use until :meth:`readmit`."""
        return self._change(place, lambda old: by_hand(old, reason, self._clock()))

    def readmit(self, place: str) -> Health:
        """Give a place's board back to use, whatever happened before."""
        return self._change(place, lambda old: Health(place=place, checked=old.checked))

    def offline_since(self, online: Mapping[str, bool]) -> dict[str, float]:
        """Return since when places are seen offline, those that are; ``online`` is what is so now.

        A coordinator does not tell. The time is that of the first look of this controller at which
        a place was not online, after the last one at which it was.
        """
        path = self._folder / "offline"
        now = self._clock()
        with contextlib.suppress(OSError), self._locked():
            try:
                known = _Times.validate_json(path.read_bytes()[:_LARGEST])
            except (OSError, ValidationError):
                known = {}
            others = {name: at for name, at in known.items() if name not in online}
            found = {name: known.get(name, now) for name, is_so in online.items() if not is_so}
            if others | found != known:
                durable.write(path, _Times.dump_json(others | found).decode())
            return found
        return {}

    def forget(self) -> None:
        """Drop the book: its lab is gone, and another may come to have the same address."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _change(self, place: str, change: Callable[[Health], Health]) -> Health:
        with self._locked():
            health = change(self.of(place))
            durable.write(self._path(place), health.model_dump_json(indent=1) + "\n")
            return health

    def _path(self, place: str) -> Path:
        return self._folder / f"{quote(place, safe='')}.json"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change the book."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="minutes")
