"""An outlet that is not there, or not well, or does not switch, is told in one sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from labgrid.driver.power import rest
from network_lab import Outlets
from ssh_server import ShellServer

from farm.board import reboot, strategy
from farm.board.target import LabgridRig, told_as_ours
from farm.errors import BoardError

pytestmark = pytest.mark.usefixtures("state")  # no proxy


@pytest.fixture
def sick_outlet() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))  # unread, it would be a reset
            if self.path == "/outlet/1":
                self.send_error(500)
                return
            self.send_response(500)
            self.end_headers()
            self.wfile.write(b"no machine of type 'virt8':\n\x1b[31m\xff" + bytes(5000))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/outlet/1"
    server.shutdown()
    thread.join()
    server.server_close()


def switch(url: str) -> BoardError:
    """Switch an outlet on with labgrid's driver, and return what is told of it."""
    with pytest.raises(BoardError) as caught, told_as_ours("board-1"):
        rest.power_set(url, None, 1, True)
    assert "farm lab status" in caught.value.next_step
    return caught.value


def test_an_outlet_that_does_not_answer() -> None:
    url = "http://127.0.0.1:9/outlet/1"
    assert str(switch(url)) == f"board-1: the power outlet at {url} does not answer"


def test_an_outlet_that_refuses(sick_outlet: str) -> None:
    assert str(switch(sick_outlet)) == (
        f"board-1: the power outlet at {sick_outlet} answers with status 500, expected 200"
    )


def test_what_an_outlet_says_beside_its_status_is_told_bounded(sick_outlet: str) -> None:
    told = str(switch(sick_outlet.removesuffix("1") + "2"))
    assert "expected 200: no machine of type 'virt8': \\x1b[31m\\xff\\x00" in told
    assert len(told) < 5000


CONFIG = """\
imports: [farm.board.labgrid]
targets:
  main:
    resources:
      NetworkService: {{address: 127.0.0.1, username: root, port: {port}}}
      NetworkPowerPort: {{model: rest, host: '{outlet}', index: 1}}
    drivers:
      NetworkPowerDriver: {{delay: 0.0}}
      ParamikoSSHDriver: {{}}
      BoardStrategy: {{}}
farm:
  board_type: switched
  description: an SSH server on an outlet
  image: installed
  limits: {{boot_s: 20}}
  ssh: {{key: client_key, host_key: {key}}}
"""


@pytest.fixture
def outlets() -> Iterator[Outlets]:
    made = Outlets()
    yield made
    made.close()


@pytest.fixture
def rig(tmp_path: Path, outlets: Outlets, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabgridRig]:
    """A rig of an SSH server whose uptime is what a file says: just started."""
    server = ShellServer(tmp_path)
    file = tmp_path / "uptime"
    file.write_text("0.10 0.00\n")
    monkeypatch.setattr(reboot, "UPTIME", str(file))
    monkeypatch.setattr(strategy, "_OBEY_S", 1.0)
    config = tmp_path / "switched.yaml"
    key = server.host_key_text
    config.write_text(CONFIG.format(port=server.port, outlet=outlets.url, key=key))
    made = LabgridRig.from_config(config, tmp_path / "out")
    yield made
    made.close()
    server.close()


def test_an_outlet_that_switches(rig: LabgridRig, outlets: Outlets) -> None:
    rig.boot()
    assert list(outlets.state.values()) == ["1"]
    rig.boot()
    rig.off()
    assert list(outlets.state.values()) == ["0"]


def test_an_outlet_that_stays_what_it_is(rig: LabgridRig, outlets: Outlets) -> None:
    outlets.says = lambda told: "0"
    with pytest.raises(BoardError) as caught:
        rig.boot()
    said = "the outlet was told to switch on, and 1 s later says that it is off"
    assert str(caught.value) == said
    outlets.says = lambda told: told
    rig.boot()
    outlets.says = lambda told: "1"
    with pytest.raises(BoardError, match="told to switch off, and 1 s later says that it is on"):
        rig.off()


def test_an_outlet_that_takes_its_time(rig: LabgridRig, outlets: Outlets) -> None:
    late = iter(["0", "1"])
    outlets.says = lambda told: next(late, told)
    rig.boot()


def test_an_outlet_that_lies(rig: LabgridRig, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("86400.00 0.00\n")
    with pytest.raises(BoardError) as caught:
        rig.boot()
    assert str(caught.value).startswith("the board has been up for 86400 s and was switched on ")
    assert str(caught.value).endswith(" s ago, so its outlet does not switch it")


def test_a_board_that_is_slow_to_say_how_long_it_is_up(
    rig: LabgridRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = 0.0

    def asked(link: object) -> float:
        nonlocal slow
        slow = 60.0
        return slow

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + slow, sleep=time.sleep)
    monkeypatch.setattr(strategy, "time", clock)
    monkeypatch.setattr(strategy, "uptime", asked)
    rig.boot()
