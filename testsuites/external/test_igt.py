"""IGT GPU tools on boards that have them: through igt_runner, or one test program at a time."""

from __future__ import annotations

import re
import shlex

import pytest

from farm.external import igt
from farm.external.judging import Judged
from farm.external.lists import Kind
from farm.external.results import Output
from farm.pytest_plugin.api import Device, Programs

LIMIT_S = 300.0
FOLDERS = (
    "/usr/libexec/igt-gpu-tools",
    "/usr/local/libexec/igt-gpu-tools",
    "/igt/libexec/igt-gpu-tools",
)
"""Where distributions, a build from source, and drm-ci install the tests."""
RESULTS = "/tmp/farm/igt-results"


def installed(programs: Programs, test: str) -> tuple[str, bool]:
    """Return the folder that holds a test program, and whether igt_runner is there, too."""
    looks = "; ".join(f"[ -x {folder}/{test} ] && echo {folder}" for folder in FOLDERS)
    script = f"command -v igt_runner; {looks}; true"
    said = programs.run(None, "sh", ["-c", script], timeout_s=30).stdout.split()
    folder = next((word for word in said if word in FOLDERS), "")
    assert folder, f"the board declares igt, and none of {', '.join(FOLDERS)} has {test}"
    return folder, any(word.endswith("igt_runner") for word in said)


def runner_script(folder: str, test: str, skips: list[str]) -> str:
    """Return what runs one test through igt_runner and prints its results.json."""
    words = ["igt_runner", "--overwrite", "--include-tests", f"^igt@{re.escape(test)}(@.*)?$"]
    for pattern in skips:
        words += ["--exclude-tests", f"^igt@{re.escape(test)}@{pattern}$"]
    quoted = shlex.join([*words, folder, RESULTS])
    return f"rm -rf {RESULTS}; {quoted} >&2; cat {RESULTS}/results.json"


@pytest.mark.over(device="drm")
def test_igt(external, programs: Programs, device: Device) -> None:
    """Tests of IGT on one DRM device; IGT_FORCE_DRIVER makes it take drivers of no vendor."""
    if "igt" not in programs.features:
        pytest.skip(f"{programs.type.name} with {programs.profile.name} declares no igt")
    external.settle([run_one(external, programs, device, test) for test in igt.TESTS])


def run_one(external, programs: Programs, device: Device, test: str) -> Judged:
    """Run one test program, through igt_runner where the board has it."""
    program = f"igt:{device.id}:{test}"
    folder, runner = installed(programs, test)
    if runner:
        prefix = f"{program}@"
        entries = [one for one in external.lists.entries if one.kind is Kind.SKIPS]
        skips = [one.name.removeprefix(prefix) for one in entries if one.name.startswith(prefix)]

        def parse(out: str, err: str, status: int) -> Output:
            return igt.parse_results(out, test)

        words = ["sh", "-c", runner_script(folder, test, skips)]
    else:
        listed = programs.run(None, f"{folder}/{test}", ["--list-subtests"], timeout_s=60)
        subtests = listed.stdout.split() if listed.status == 0 else []
        wanted = [one for one in subtests if external.lists.skip(f"{program}@{one}") is None]

        def parse(out: str, err: str, status: int) -> Output:
            return igt.parse(test, out, status, err, planned=wanted)

        choice = ["--run-subtest", ",".join(wanted)] if len(wanted) < len(subtests) else []
        words = [f"{folder}/{test}", *choice]
    return external.run(
        program, None, words, parse,
        timeout_s=LIMIT_S, variables={"IGT_FORCE_DRIVER": device.driver}, prefix=f"{test}@",
    )  # fmt: skip
