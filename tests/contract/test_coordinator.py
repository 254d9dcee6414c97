"""The coordinator client against a real coordinator and exporter."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from farm.errors import LabError
from farm.lab.coordinator import Coordinator
from farm.lab.place import ReservationState


def test_places_carry_tags_resources_and_holder(sample_lab: Any) -> None:
    with sample_lab.client() as client:
        client.set_tags("board-1", {"hw_emulator": "qemu-7.2.22"})
        place = client.places()["board-1"]
        assert place.tags == {"board_type": "sample", "hw_emulator": "qemu-7.2.22"}
        assert {item.cls for item in place.resources} == {"NetworkPowerPort", "NetworkService"}
        assert place.online
        assert place.free
        client.set_tags("board-1", {"hw_emulator": ""})
        assert "hw_emulator" not in client.place("board-1").tags


def test_waiting_sees_what_was_changed_before_even_if_the_news_come_late(
    sample_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sample_lab.client() as client:
        take, pause = client._take, threading.Event()

        def take_late(message: Any) -> None:
            pause.wait(0.2)
            take(message)

        monkeypatch.setattr(client, "_take", take_late)
        client.add_place("board-3")
        assert client.wait_for(lambda places: places["board-3"].free, 30)


def test_only_one_identity_holds_a_place(sample_lab: Any) -> None:
    with sample_lab.client("one") as one, sample_lab.client("two") as two:
        one.acquire("board-1")
        with pytest.raises(LabError, match="already acquired"):
            two.acquire("board-1")
        two.release("board-1")
        assert two.place("board-1").holder == "testhost/one"
        two.release("board-1", holder="testhost/one")
        assert two.place("board-1").free


def test_a_reservation_keeps_others_out(sample_lab: Any) -> None:
    with sample_lab.client("one") as one, sample_lab.client("two") as two:
        wish = one.reserve({"name": "board-1"})
        assert (wish.state, wish.place) == (ReservationState.ALLOCATED, "board-1")
        with pytest.raises(LabError, match="not reserved for"):
            two.acquire("board-1")
        one.cancel(wish.token)
        one.cancel(wish.token)
        two.acquire("board-1")
        assert one.reserve({"name": "board-1"}).state is ReservationState.WAITING


def test_no_coordinator_is_one_sentence_and_a_next_step() -> None:
    with pytest.raises(LabError, match=r"no coordinator at 127\.0\.0\.1:1: ") as caught:
        Coordinator("127.0.0.1:1", "h/u")
    assert "farm lab up" in caught.value.next_step
    assert caught.value.exit_code == 3


def test_a_vanished_coordinator_is_noticed(sample_lab: Any) -> None:
    with sample_lab.client() as client:
        sample_lab.coordinator.process.kill()
        assert client.lost.wait(30)
        with pytest.raises(LabError, match="the connection is gone"):
            client.places()


def test_an_unknown_place_names_the_lab(sample_lab: Any) -> None:
    with sample_lab.client() as client, pytest.raises(LabError, match="has no place nowhere"):
        client.place("nowhere")
