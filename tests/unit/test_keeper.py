"""How long a keeper has patience with a coordinator that does not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from farm.errors import LabError
from farm.lab import keeper
from farm.lab.coordinator import CALL_S
from farm.lab.lease import LeaseRequest, new_identity
from farm.lab.place import Place

REQUEST = LeaseRequest(
    coordinator="127.0.0.1:1",
    place="a",
    identity=new_identity("here"),
    run="run",
    job="a",
    beat_s=1e-9,
)


class Stalling:
    """A coordinator whose connection stands, and that answers only after so many calls."""

    def __init__(self, silent: int, commands: int) -> None:
        self.lost = threading.Event()
        self.now = 0.0
        self._silent = silent
        self._commands = commands

    def place(self, name: str) -> Place:
        if self._silent:
            self._silent -= 1
            self.now += CALL_S
            raise LabError(f"no answer within {CALL_S:g} s")
        return Place(name, {}, frozenset(), REQUEST.identity, "", (), ())

    def set_tags(self, place: str, tags: Mapping[str, str]) -> None:
        os.write(self._commands, b"release\n")


@pytest.mark.parametrize(
    ("silent", "end"),
    [(0, "IN_ORDER"), (6, "IN_ORDER"), (8, "LOST")],
)
def test_a_coordinator_that_stalls_costs_no_lease_for_a_minute(
    silent: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, job = os.pipe()
    lab = Stalling(silent, job)
    clock = SimpleNamespace(
        monotonic=lambda: lab.now + time.monotonic() / 1e6, time=time.time, sleep=time.sleep
    )
    monkeypatch.setattr(keeper, "time", clock)
    monkeypatch.setattr(keeper, "POLL_S", 0.0)
    mine = keeper.Keeper(REQUEST, commands)
    mine._lab = mine._held_by = lab  # type: ignore[assignment]
    try:
        assert mine._hold().name == end
    finally:
        os.close(commands)
        os.close(job)
