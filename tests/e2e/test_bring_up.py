"""``docs/bring-up.md``, run as it stands, on a virtual board that is taken as an SSH host."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from farm import image

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "bring-up.md"
GUIDE_S = 480.0
"""Bound on the whole guide, which takes about a minute: what hangs shall say where."""


def commands() -> list[str]:
    """Return the guide's blocks of shell commands but the first, which the reader fills in."""
    return re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)[1:]


def free_port() -> int:
    """Return a port that nobody is given who asks for any: it is used only minutes later."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(low // 2, low)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def test_the_guide_ends_in_a_passing_run(own_farm: Any, tmp_path: Path) -> None:
    (board,) = own_farm.json("lab", "up", "--boards", "virt-smmuv3=1")["lab"]["boards"]
    put = urllib.request.Request(board["power_url"], data=b"1", method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(put).close()
    made = image.find(board["image_id"])
    key = tmp_path / "lab_key"
    shutil.copy(made.client_key, key)
    key.chmod(0o600)
    project = tmp_path / "project"
    shutil.copytree(ROOT / "board-configs", project / "board-configs")
    (project / "testsuites").symlink_to(ROOT / "testsuites")
    script = "\n".join(commands()).replace("127.0.0.1:20408", f"127.0.0.1:{free_port()}")
    variables = {
        **own_farm.variables,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "BOARD": "127.0.0.1",
        "PORT": str(board["ssh_port"]),
        "KEY": str(key),
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "guide.log"
    with log.open("w") as stream:
        # A server that it leaves behind keeps the output open: a file, not a pipe.
        guide = subprocess.Popen(
            ["bash", "-e", "-x", "-c", _patient(script)],
            env=variables,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            code = guide.wait(GUIDE_S)
        except subprocess.TimeoutExpired:
            guide.kill()
            code = guide.wait()
        finally:
            _end_servers(own_farm)
    said = log.read_text()
    assert code == 0, f"exit {code}; the end of what it said:\n{said[-3000:]}"
    assert "no IOMMU is declared, but sysfs has 4 groups" in said
    assert "the board has drm:bochs-drm, drm:cirrus, drm:vgem, drm:virtio_gpu, v4l2:" in said
    assert re.search(r"my-board +6\.\S+ +\d+ PASS, \d+ SKIP *$", said, re.M), said
    assert "3 passed, " in said


def _patient(script: str) -> str:
    """Wait where a reader has waited by the time the next command is typed."""
    there = "until labgrid-client resources | grep shelf; do sleep 0.2; done\n"
    first = "labgrid-client -p my-board-1 create\n"
    scan = "ssh-keyscan -p $PORT $BOARD > board-configs/known_hosts\n"
    assert first in script and scan in script
    up = f"until {scan.rstrip()}; do sleep 1; done\n"  # the board boots meanwhile
    return script.replace(first, there + first).replace(scan, up)


def _end_servers(own_farm: Any) -> None:
    """End the coordinator and the exporter that the guide started; the lab ends with the test."""
    for pid in own_farm.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"20408" in command or b"-l\0" in command or b"-n\0shelf" in command:
                os.kill(pid, signal.SIGTERM)
