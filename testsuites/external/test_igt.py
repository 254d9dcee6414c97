"""IGT GPU tools: Debian's amd64 programs through box64, or those that the board has."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

import pytest

from farm.external import igt
from farm.external.judging import Judged
from farm.external.results import Output
from farm.pytest_plugin.api import Bundle, Device, Programs, Verdict

LIMIT_S = 300.0
FOLDERS = (
    "/usr/libexec/igt-gpu-tools",
    "/usr/local/libexec/igt-gpu-tools",
    "/igt/libexec/igt-gpu-tools",
)
"""Where distributions, a build from source, and drm-ci install the tests."""
RESULTS, LIST = "/tmp/farm/igt-results", "/tmp/farm/igt-list"
_DRIVERS = 'for n in /sys/kernel/debug/dri/*/name; do read -r d rest < $n; echo "$d"; done'


def installed(programs: Programs, test: str) -> tuple[str, bool]:
    """Return the folder that holds a test program, and whether igt_runner is there, too."""
    looks = "; ".join(f"[ -x {folder}/{test} ] && echo {folder}" for folder in FOLDERS)
    script = f"command -v igt_runner; {looks}; true"
    said = programs.run(None, "sh", ["-c", script], timeout_s=30).stdout.split()
    folder = next((word for word in said if word in FOLDERS), "")
    assert folder, f"the board declares igt, and none of {', '.join(FOLDERS)} has {test}"
    return folder, any(word.endswith("igt_runner") for word in said)


def runner_script(folder: str, test: str, subtests: list[str]) -> str:
    """Return what runs one test, or some subtests, by igt_runner, and prints its results.json.

    With a list igt_runner asks no test for its subtests; with --include-tests it asks each of the
    450 in test-list.txt (IGT 2.5).
    """
    names = [f"igt@{test}@{one}" for one in subtests] or [f"igt@{test}"]
    listed = shlex.join(["printf", "%s\\n", *names])
    run = shlex.join(["igt_runner", "--overwrite", "--test-list", LIST, folder, RESULTS])
    return f"rm -rf {RESULTS}; {listed} > {LIST}; {run} >&2; cat {RESULTS}/results.json"


def driver_of(programs: Programs, device: Device) -> str:
    """Return what the DRM driver of a device calls itself on this kernel: cirrus or cirrus-qemu."""
    said = programs.run(None, "sh", ["-c", _DRIVERS], timeout_s=30).stdout.split()
    names = device.address.partition(":")[2].split(",")
    return next((name for name in names if name in said), device.driver)


class Igt(NamedTuple):
    """Runs test programs, of a bundle or of the board's own."""

    external: Any
    programs: Programs
    bundle: Bundle | None

    def run(self, test: str, program: str, driver: str = "") -> Judged:
        """Run one test; IGT_FORCE_DRIVER makes it take a driver of no vendor."""
        left_out: Judged | None = self.external.left_out(program)
        if left_out is not None:
            return left_out
        folder, runner = installed(self.programs, test) if self.bundle is None else ("", False)
        variables = {"IGT_FORCE_DRIVER": driver} if driver else None
        command = f"{folder}/{test}" if folder else test
        listed = self.programs.run(self.bundle, command, ["--list-subtests"], timeout_s=60)
        subtests = listed.stdout.split() if listed.status == 0 else []
        lists = self.external.lists
        wanted = [one for one in subtests if lists.skip(f"{program}@{one}") is None]
        if subtests and not wanted:
            return Judged("", Verdict.SKIP, f"lists leave out each of its {len(subtests)} subtests")

        def parse(out: str, err: str, status: int) -> Output:
            if runner:
                return igt.parse_results(out, test, err, planned=wanted)
            return igt.parse(test, out, status, err, planned=wanted)

        choice = ["--run-subtest", ",".join(wanted)] if len(wanted) < len(subtests) else []
        words = ["sh", "-c", runner_script(folder, test, wanted)] if runner else [command, *choice]
        return self.external.run(
            program, self.bundle, words, parse,
            timeout_s=LIMIT_S, variables=variables, prefix=f"{test}@",
        )  # fmt: skip


@pytest.mark.over(device="drm")
def test_igt(external, programs: Programs, igt_tests: Bundle | None, device: Device) -> None:
    """Tests of IGT on one DRM device."""
    runs = Igt(external, programs, igt_tests)
    driver = driver_of(programs, device)
    tests = (*igt.ON_EACH, *(igt.ON_VGEM if device.driver == "vgem" else ()))
    external.settle([runs.run(test, f"igt:{device.id}:{test}", driver) for test in tests])


@pytest.mark.declared("sw_sync")
def test_igt_without_a_device(external, programs: Programs, igt_tests: Bundle | None) -> None:
    """Tests of IGT that open no DRM device."""
    runs = Igt(external, programs, igt_tests)
    external.settle([runs.run(test, f"igt:{test}") for test in igt.ON_NONE])
