"""``farm run`` on boards that boot through U-Boot: in order, and through what goes wrong."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.errors import ImageError
from farm.image import apt, fetch_firmware
from farm.image.cache import building, packages_dir
from farm.inventory import FirmwareSource, load_image_profile
from farm.model import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

QUICK = ("mapcache", "-k", "second_import")
FAULTS = {
    "virt-uboot-1=serial-deaf": ("no U-Boot prompt that answers within 20 s of power-on", "=>"),
    "virt-uboot-2=no-kernel-file": (
        "U-Boot's 'tftpboot ${kernel_addr_r} Image' failed", "File not found",
    ),
    "virt-uboot-3=boot-loop": (
        "the board reset itself after U-Boot had been told to start", "| U-Boot 20",
    ),
    "virt-uboot-disk-1=no-kernel-file": (
        "U-Boot's 'load virtio 0:1 ${kernel_addr_r} Image' failed", "Failed to load 'Image'",
    ),
}  # fmt: skip
LOADED = {"virt-uboot": "Bytes transferred = ", "virt-uboot-disk": " bytes read in "}


@pytest.mark.parametrize("board_type", LOADED)
def test_a_run_through_uboot(own_farm: Any, board_type: str) -> None:
    done = own_farm.json("run", *QUICK, "--board", board_type)
    assert done["exit"] == 0
    (job,) = done["jobs"]
    assert set(job["verdicts"]) == {"PASS", "SKIP"}
    told = list(events.read_journal(Path(job["journal"])))
    assert isinstance(told[0], events.JobStarted)
    assert told[0].hardware["firmware"].startswith("u-boot-qemu-20")
    assert {event.pattern for event in told if isinstance(event, events.Complaint)} == set()
    console = Path(job["journal"]).with_name("console.log").read_text()
    assert console.count(" U-Boot 20") == 1
    assert {name: console.count(said) for name, said in LOADED.items()} == {
        name: 2 if name == board_type else 0 for name in LOADED
    }
    host = f"hostname={board_type}-1"
    assert f"Kernel command line: console=ttyAMA0 ignore_loglevel {host}" in console


def unpack_kernel(folder: Path) -> Path:
    """Unpack the packages of Debian 13's kernel and return the folder."""
    profile = load_image_profile("debian-13")
    with building(), apt.apt_root(profile.suite, packages_dir()) as archive:
        archive.update()
        packages = archive.resolve_kernel(profile.kernel)
        for file in archive.fetch(packages, packages_dir(), lambda _: None):
            apt.unpack(file, folder)
    return folder


def test_suites_run_on_a_kernel_that_is_compressed(own_farm: Any, tmp_path: Path) -> None:
    tree = unpack_kernel(tmp_path / "kernel")
    (plain,) = (tree / "boot").glob("vmlinuz-*")
    packed = tmp_path / "Image.gz"
    with gzip.open(packed, "wb", compresslevel=1) as stream:
        stream.write(plain.read_bytes())
    (modules,) = (tree / "usr/lib/modules").iterdir()
    done = own_farm.json(
        *("run", *QUICK, "--board", "virt-uboot", "--board", "virt-uboot-disk"),
        *("--kernel", str(packed), "--modules", str(modules)),
    )
    assert done["exit"] == 0
    for job in done["jobs"]:
        assert set(job["verdicts"]) == {"PASS", "SKIP"}
        console = Path(job["journal"]).with_name("console.log").read_text()
        assert "Uncompressing Kernel Image" in console


def test_boots_that_fail_are_infra_with_the_consoles_last_lines(own_farm: Any) -> None:
    words = [word for fault in FAULTS for word in ("--fault", fault)]
    words += ["--boards", "virt-uboot=3", "--boards", "virt-uboot-disk=1"]
    own_farm.json("lab", "up", *words)
    expected = {fault.partition("=")[0]: said for fault, said in FAULTS.items()}
    done = own_farm.json(
        "run", "--no-check", *QUICK, *(word for place in expected for word in ("--board", place))
    )
    assert done["exit"] == 3
    assert [job["board"] for job in done["jobs"]] == list(expected)
    for job in done["jobs"]:
        assert set(job["verdicts"]) <= {"INFRA", "MISS"}
        told = list(events.read_journal(Path(job["journal"])))
        failed = [e for e in told if isinstance(e, events.CaseFinished)]
        assert [event.verdict for event in failed] == [Verdict.INFRA]
        reason, last = expected[job["board"]]
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
