"""``farm run`` on boards that boot through U-Boot: in order, and through what goes wrong."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.errors import ImageError
from farm.image import fetch_firmware
from farm.inventory import FirmwareSource
from farm.model import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

QUICK = ("mapcache", "-k", "second_import")
FAULTS = {
    "serial-deaf": ("no U-Boot prompt that answers within 20 s of power-on", "=>"),
    "no-kernel-file": ("U-Boot's 'tftpboot ${kernel_addr_r} Image' failed", "File not found"),
    "boot-loop": ("the board reset itself after U-Boot had been told to start", "| U-Boot 20"),
}


def put(url: str, body: str) -> None:
    request = urllib.request.Request(url, data=body.encode(), method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def test_a_run_through_uboot(own_farm: Any) -> None:
    done = own_farm.json("run", *QUICK, "--board", "virt-uboot")
    assert done["exit"] == 0
    (job,) = done["jobs"]
    assert set(job["verdicts"]) == {"PASS", "SKIP"}
    told = list(events.read_journal(Path(job["journal"])))
    assert isinstance(told[0], events.JobStarted)
    assert told[0].hardware["firmware"].startswith("u-boot-qemu-20")
    assert {event.pattern for event in told if isinstance(event, events.Complaint)} == set()
    console = Path(job["journal"]).with_name("console.log").read_text()
    assert console.count(" U-Boot 20") == 1
    assert console.count("Bytes transferred") == 2
    assert "Kernel command line: console=ttyAMA0 ignore_loglevel hostname=virt-uboot-1" in console


def test_boots_that_fail_are_infra_with_the_consoles_last_lines(own_farm: Any) -> None:
    lab = own_farm.json("lab", "up", "--boards", f"virt-uboot={len(FAULTS)}")["lab"]
    broken = dict(zip((board["place"] for board in lab["boards"]), FAULTS, strict=True))
    for board in lab["boards"]:
        put(board["fault_url"], broken[board["place"]])
    asked = [word for place in broken for word in ("--board", place)]
    done = own_farm.json("run", *QUICK, *asked)
    assert done["exit"] == 3
    assert len(done["jobs"]) == len(FAULTS)
    for job in done["jobs"]:
        assert set(job["verdicts"]) <= {"INFRA", "MISS"}
        told = list(events.read_journal(Path(job["journal"])))
        failed = [e for e in told if isinstance(e, events.CaseFinished)]
        assert [event.verdict for event in failed] == [Verdict.INFRA]
        reason, last = FAULTS[broken[job["board"]]]
        assert f"3 boots failed, the last: {reason}" in failed[0].reason
        assert last in failed[0].reason.partition("the console's last lines: ")[2]
        assert any(last.removeprefix("| ") in line for line in failed[0].console)
        assert isinstance(told[-1], events.JobFinished)
        assert reason in told[-1].reason


def test_firmware_that_the_package_does_not_hold() -> None:
    with pytest.raises(ImageError, match=r"package u-boot-qemu \S+ holds no file /usr/lib/nothing"):
        fetch_firmware(FirmwareSource("trixie", "u-boot-qemu", "usr/lib/nothing"))
    with pytest.raises(ImageError, match="'u-boot-nowhere' is not in Debian suite 'trixie'"):
        fetch_firmware(FirmwareSource("trixie", "u-boot-nowhere", "u-boot.bin"))
