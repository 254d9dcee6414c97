"""A real labgrid coordinator and exporter on loopback, with outlets that remember."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from labgrid_servers import CLASSES, EXPORTER, CoordinatorProcess, start_exporter, write_exports
from network_lab import Outlets
from scripted_lab import scripted

from farm.lab.coordinator import Coordinator

ONLINE_S = 120.0

__all__ = ["sample_lab", "scripted", "state"]


@dataclass
class SampleLab:
    """A lab with the places ``board-1`` and ``board-2`` of type ``sample``."""

    folder: Path
    outlets: Outlets

    def __post_init__(self) -> None:
        self.coordinator = CoordinatorProcess(self.folder)
        self.address = self.coordinator.address
        self.start_exporter()

    def start_exporter(self) -> None:
        self.exporter = start_exporter(self.folder, self.address)

    def client(self, user: str = "tester") -> Coordinator:
        return Coordinator(self.address, f"testhost/{user}")

    def restart_coordinator(self) -> None:
        """End the coordinator by force, and its exporter with it; have another one begin."""
        with self.client() as client:
            places = client.places()
        self.stop_exporter()
        self.coordinator.stop()
        self.coordinator.restart(places)

    def stop_exporter(self) -> None:
        self.exporter.kill()
        self.exporter.wait()

    def await_online(self, client: Coordinator) -> None:
        """Wait until both places are; an exporter that took too long to begin is started again."""
        deadline = time.monotonic() + ONLINE_S
        while not all(place.online for place in client.places().values()):
            assert time.monotonic() < deadline
            if self.exporter.poll() is not None:
                self.start_exporter()
            time.sleep(0.05)

    def stop(self) -> None:
        self.stop_exporter()
        self.coordinator.close()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State, data and cache folders of this test alone."""
    for name in ("STATE", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("LG_COORDINATOR", "LG_TOKEN", "LG_HOSTNAME", "LG_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def sample_lab(state: Path) -> Iterator[SampleLab]:
    folder = state / "lab"
    folder.mkdir()
    outlets = Outlets()
    write_exports(folder, outlets.url, (9, 9))
    lab = SampleLab(folder, outlets)
    try:
        with lab.client("keeper-of-the-lab") as client:
            for name in ("board-1", "board-2"):
                client.add_place(name)
                for cls in CLASSES:
                    client.add_match(name, f"{EXPORTER}/{name}/{cls}")
                client.set_tags(name, {"board_type": "sample"})
            lab.await_online(client)
        yield lab
    finally:
        lab.stop()
        outlets.close()
