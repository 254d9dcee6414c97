"""labgrid's coordinator and exporter, as processes on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from farm.lab.place import Place

BIN = Path(sys.executable).parent
EXPORTER = "sample"

CLASSES = ("NetworkPowerPort", "NetworkService")
"""What each board exports. A place that matches them one by one is online once it has both.

labgrid's coordinator takes resources one at a time, and none while it asks an exporter for a place:
who asks between two of them waits for 10 s in vain.
"""


class CoordinatorProcess:
    """A coordinator, whose port nobody else is given while it is down."""

    def __init__(self, folder: Path) -> None:
        """Start one, which keeps what it saves in ``folder``."""
        self.address = "127.0.0.1:0"
        self._folder = folder
        self._port: socket.socket | None = None
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [BIN / "labgrid-coordinator", "-l", self.address],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]
        # It tells of every lease, and stands still once nobody reads that.
        self._reader = threading.Thread(target=self.process.stdout.read, daemon=True)
        self._reader.start()
        if self._port is not None:
            self._port.close()

    def restart(self, places: Mapping[str, Place]) -> None:
        """Start it again, once it was stopped, with what it would have saved within 15 s.

        That is places, but neither holds nor reservations (``load`` in
        labgrid/remote/coordinator.py drops them).
        """
        saved = {
            name: {
                "tags": dict(place.tags),
                "matches": [{"exporter": EXPORTER, "group": name, "cls": cls} for cls in CLASSES],
            }
            for name, place in places.items()
        }
        (self._folder / "places.yaml").write_text(json.dumps(saved))
        self._start()

    def stop(self) -> None:
        """End it by force; its exporters end with it."""
        self._end()
        host, _, port = self.address.rpartition(":")
        self._port = socket.socket()  # bound, and not listening: whoever connects is refused
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind((host, int(port)))

    def close(self) -> None:
        """End it for good."""
        self._end()
        if self._port is not None:
            self._port.close()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def start_exporter(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """Start an exporter of what ``exporter.yaml`` in ``folder`` says."""
    return subprocess.Popen(
        [BIN / "labgrid-exporter", "-c", address, "-n", EXPORTER, "exporter.yaml"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def write_exports(folder: Path, outlets_url: str, ports: Iterable[int]) -> None:
    """Write what ``board-1`` and so on export: an outlet each, and SSH at one of the ports."""
    groups = [
        f"board-{number}:\n"
        f"  NetworkPowerPort: {{model: rest, host: '{outlets_url}', index: {number}}}\n"
        f"  NetworkService: {{address: 127.0.0.1, username: root, port: {port}}}\n"
        for number, port in enumerate(ports, 1)
    ]
    (folder / "exporter.yaml").write_text("".join(groups))
