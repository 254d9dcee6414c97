"""A real labgrid coordinator and exporter on loopback, with outlets that remember."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from network_lab import Outlets
from scripted_lab import scripted

from farm.lab.coordinator import Coordinator

BIN = Path(sys.executable).parent

__all__ = ["sample_lab", "scripted", "state"]


@dataclass
class SampleLab:
    """A lab with the places ``board-1`` and ``board-2`` of type ``sample``."""

    folder: Path
    outlets: Outlets
    address: str = "127.0.0.1:0"

    def __post_init__(self) -> None:
        self.start_coordinator()
        self.start_exporter()

    def start_coordinator(self) -> None:
        self.coordinator = subprocess.Popen(
            [BIN / "labgrid-coordinator", "-l", self.address],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.coordinator.stdout is not None
        self.address = self.coordinator.stdout.readline().split()[-1]

    def start_exporter(self) -> None:
        self.exporter = subprocess.Popen(
            [BIN / "labgrid-exporter", "-c", self.address, "-n", "sample", "exporter.yaml"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def client(self, user: str = "tester") -> Coordinator:
        return Coordinator(self.address, f"testhost/{user}")

    def stop_coordinator(self) -> None:
        """End the coordinator by force, and its exporter, which ends with it.

        What labgrid would have saved within 15 s is saved: places, but neither holds nor
        reservations (``load`` in labgrid/remote/coordinator.py drops them).
        """
        with self.client() as client:
            places = {
                name: {
                    "tags": dict(place.tags),
                    "matches": [{"exporter": "sample", "group": name, "cls": "*"}],
                }
                for name, place in client.places().items()
            }
        self.stop()
        (self.folder / "places.yaml").write_text(json.dumps(places))

    def stop_exporter(self) -> None:
        self.exporter.kill()
        self.exporter.wait()

    def stop(self) -> None:
        self.stop_exporter()
        self.coordinator.kill()
        self.coordinator.wait()
        assert self.coordinator.stdout is not None
        self.coordinator.stdout.close()


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
    groups = [
        f"board-{number}:\n"
        f"  NetworkPowerPort: {{model: rest, host: '{outlets.url}', index: {number}}}\n"
        f"  NetworkService: {{address: 127.0.0.1, username: root, port: 9}}\n"
        for number in (1, 2)
    ]
    (folder / "exporter.yaml").write_text("".join(groups))
    lab = SampleLab(folder, outlets)
    try:
        with lab.client("keeper-of-the-lab") as client:
            for name in ("board-1", "board-2"):
                client.add_place(name)
                client.add_match(name, f"sample/{name}/*")
                client.set_tags(name, {"board_type": "sample"})
            waiter = threading.Event()
            while not all(place.online for place in client.places().values()):
                waiter.wait(0.05)
        yield lab
    finally:
        lab.stop()
        outlets.close()
