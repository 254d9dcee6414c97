"""Faults on a real virtual board, under plain pytest after labgrid-client's reserve and acquire."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm import events
from farm.board.ktap import MAX_BLOCK
from farm.board.result import PAUSED
from farm.model import Verdict

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "board-configs" / "virt-smmuv3.yaml"
SUITES = ROOT / "tests" / "support" / "faulty"
BIN = Path(sys.executable).parent

Pytest = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def profile(request: pytest.FixtureRequest, own_farm: Any) -> str:
    """The image profile that the lab's boards boot; another than usual has to be built already."""
    name = str(getattr(request, "param", "debian-13"))
    if name != "debian-13":
        made = {one["profile"]: one["image"] for one in own_farm.json("image", "list")["profiles"]}
        if not made[name]:
            pytest.skip(f"no image {name}; make one with: farm image build {name}")
    return name


@pytest.fixture
def run_pytest(own_farm: Any, profile: str) -> Iterator[Pytest]:
    """Run pytest on an acquired board of a lab of this test's own."""
    up = own_farm.call("lab", "up", "--boards", "virt-smmuv3=1", "--image", profile)
    assert up.returncode == 0, up.stderr
    variables = {**own_farm.variables, "LG_HOSTNAME": "desk", "LG_USERNAME": "engineer"}
    for line in own_farm.call("lab", "env").stdout.splitlines():
        name, _, value = shlex.split(line)[1].partition("=")
        variables[name] = value

    def client(*words: str) -> str:
        done = subprocess.run(
            [BIN / "labgrid-client", *words],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    reserved = client("reserve", "--wait", "--shell", "board_type=virt-smmuv3")
    variables["LG_TOKEN"] = reserved.strip().rpartition("=")[2]
    client("-p", "+", "acquire")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *arguments],
            env=variables,
            cwd=own_farm.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    client("-p", "+", "release")


def verdicts(found: list[events.Event]) -> list[tuple[str, int, Verdict]]:
    return [
        (event.nodeid.partition("::test_")[2], event.attempt, event.verdict)
        for event in found
        if isinstance(event, events.CaseFinished)
    ]


def test_everything_that_can_go_wrong(run_pytest: Pytest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = SUITES / "faulty_suite.py"
    done = run_pytest("--lg-env", str(CONFIG), str(suite), "--farm-out", str(out))
    assert done.returncode == 1, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    assert verdicts(found) == [
        ("passes[cirrus]", 1, Verdict.PASS),
        ("panics", 1, Verdict.FAIL),
        ("runs_after_the_panic", 1, Verdict.PASS),
        ("warns", 1, Verdict.FAIL),
        ("warns_on_purpose", 1, Verdict.PASS),
        ("crashes", 1, Verdict.ERROR),
        ("leaks", 1, Verdict.ERROR),
        ("exceeds_its_limit", 1, Verdict.FAIL),
        ("is_known_to_fail", 1, Verdict.XFAIL),
        ("skips", 1, Verdict.SKIP),
        ("has_no_control", 1, Verdict.ERROR),
        ("runs_commands", 1, Verdict.ERROR),
        ("wants_what_is_not_declared[none]", 1, Verdict.SKIP),
        ("notes_a_cell", 1, Verdict.PASS),
        ("resets", 1, Verdict.FAIL),
        ("loses_the_link", 1, Verdict.INFRA),
        ("loses_the_link", 2, Verdict.INFRA),
        ("hangs", 1, Verdict.INFRA),
        ("hangs", 2, Verdict.FAIL),
        ("never_runs", 1, Verdict.INFRA),
    ]
    finished = {
        event.nodeid.partition("::test_")[2]: event
        for event in found
        if isinstance(event, events.CaseFinished)
    }
    started = next(event for event in found if isinstance(event, events.JobStarted))
    assert (started.board, started.image.profile) == ("virt-smmuv3-1", "debian-13")
    assert started.image.packages and "emulator" in started.hardware

    panicked = finished["panics"]
    assert "Kernel panic - not syncing: sysrq triggered crash" in panicked.reason
    assert any("Call trace" in line for line in panicked.console)
    said = {(e.pattern, e.nodeid.partition("::test_")[2]) for e in found if e.type == "complaint"}
    assert said == {
        ("panic", "panics"),
        ("warning", "warns"),
        ("warning", "warns_on_purpose"),
        ("boot_banner", "resets"),
    }
    assert "5 reboots are used up" in finished["never_runs"].reason
    assert finished["notes_a_cell"].cell["errno"] == "EINVAL"
    assert finished["passes[cirrus]"].case_hash
    assert {one.metric for one in finished["passes[cirrus]"].samples} >= {"wall", "dma_map_sg"}
    absent = {one.counter: one.reason for one in finished["passes[cirrus]"].absent}
    assert "pmu_instructions" in absent and "dma_map_sg" not in absent
    for name, reason in absent.items():
        if name.startswith("pmu_"):
            said = r"perf_event_open for (hardware|cache) event \d+: (ENOENT|ENODEV) \("
            assert re.match(said, reason)
        else:
            assert re.match("there is no /sys/|no such PMU: nothing matches /sys/", reason)

    boots = [event for event in found if isinstance(event, events.BoardReady)]
    assert [boot.boot for boot in boots] == [1, 2, 3, 4, 5, 6]
    assert boots[0].topology["iommu_groups"]
    for artifact in (event for event in found if isinstance(event, events.Artifact)):
        content = (out / artifact.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
    console = (out / "console.log").read_text()
    assert console.count("Booting Linux on physical CPU") == 7  # six boots, and the reset's own
    assert "-- power off --" in console.splitlines()[-2] + console.splitlines()[-1]
    assert isinstance(found[-1], events.JobFinished) and not found[-1].ok
    assert f"journal: {out / 'journal.jsonl'}" in done.stdout
    assert "farm/board/session.py" not in done.stdout


def test_no_complaint_is_lost_or_blamed_on_another(run_pytest: Pytest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = SUITES / "complaints_suite.py"
    done = run_pytest("--lg-env", str(CONFIG), str(suite), "--farm-out", str(out))
    assert done.returncode == 1, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    purpose = [f"warns_on_purpose[{turn}]" for turn in range(10)]
    pairs = [f"pairs[{turn}]" for turn in range(10)]
    assert verdicts(found) == [
        ("panics_outside_a_case", 1, Verdict.FAIL),
        ("runs_after_the_panic", 1, Verdict.PASS),
        ("command_warns", 1, Verdict.FAIL),
        ("warns_after_its_case", 1, Verdict.FAIL),
        ("warns_though_it_may_fail", 1, Verdict.FAIL),
        *((name, 1, Verdict.PASS) for name in purpose),
        *((name, 1, Verdict.FAIL) for name in pairs),
        ("is_clean", 1, Verdict.PASS),
    ]
    finished = [event for event in found if isinstance(event, events.CaseFinished)]
    assert "Kernel panic - not syncing: sysrq triggered crash" in finished[0].reason
    assert any("Call trace" in line for line in finished[0].console)
    assert [
        (event.pattern, event.nodeid.partition("::test_")[2])
        for event in found
        if isinstance(event, events.Complaint)
    ] == [
        ("panic", "panics_outside_a_case"),
        ("warning", "command_warns"),
        ("warning", "warns_after_its_case"),
        ("warning", "warns_though_it_may_fail"),
        *(("warning", name) for name in purpose),
        *(("warning", name) for name in pairs),
    ]


def test_what_a_case_leaves_behind_fails_it_and_no_other(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    suite = SUITES / "evidence_suite.py"
    done = run_pytest("--lg-env", str(CONFIG), str(suite), "--farm-out", str(out))
    assert done.returncode == 1, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    assert verdicts(found) == [
        ("leaks_a_buffer", 1, Verdict.FAIL),
        ("is_clean_after_the_buffer", 1, Verdict.PASS),
        ("leaks_a_fence", 1, Verdict.FAIL),
        ("leaks_though_it_may_fail", 1, Verdict.FAIL),
        ("leaks_on_purpose", 1, Verdict.PASS),
        ("leaks_a_descriptor", 1, Verdict.ERROR),
        ("frees_late", 1, Verdict.PASS),
        ("takes_times", 1, Verdict.PASS),
    ]
    reasons = [one.reason for one in found if isinstance(one, events.CaseFinished)]
    assert "dma_buf_left: 1 count left" in reasons[0] and "udmabuf of 16384 bytes" in reasons[0]
    assert "dma_fence_left: 1 count left" in reasons[2]
    timed = next(one for one in reversed(found) if isinstance(one, events.CaseFinished))
    (paused,) = (one.reason for one in timed.absent if one.counter == PAUSED)
    assert ": dma_map_sg, " in paused and "dma_fence" not in paused


def test_a_stream_that_cannot_be_believed_is_no_verdict(run_pytest: Pytest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = SUITES / "stream_suite.py"
    config = tmp_path / "virt-smmuv3.yaml"
    config.write_text(CONFIG.read_text().replace("reboots: 5", "reboots: 9"))
    done = run_pytest("--lg-env", str(config), str(suite), "--farm-out", str(out))
    assert done.returncode == 3, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    twice = [(name, n, Verdict.INFRA) for name in ("half", "rubbish") for n in (1, 2)]
    assert verdicts(found) == [
        ("makes_noise", 1, Verdict.INFRA),
        ("makes_noise", 2, Verdict.INFRA),
        ("is_clean", 1, Verdict.PASS),
        *((f"breaks_the_stream[{name}]", n, verdict) for name, n, verdict in twice),
        ("is_clean_again", 1, Verdict.PASS),
    ]
    reasons = [one.reason for one in found if isinstance(one, events.CaseFinished)]
    assert f"more than {MAX_BLOCK} bytes" in reasons[0]
    assert "the payload sent 'KTAP version 1', expected '# case'" in reasons[3]
    assert "the payload sent 'ok 1 ok 1'" in reasons[5]


@pytest.mark.parametrize("profile", ["reference-6.12"], indirect=True)  # Debian's has no LKDTM
def test_a_warning_that_the_kernel_runs_fails_its_test_and_the_next_goes_on(
    run_pytest: Pytest, tmp_path: Path, profile: str
) -> None:
    out = tmp_path / "out"
    suites = (str(SUITES / "warning_suite.py"), str(SUITES / "reference_suite.py"))
    done = run_pytest(
        *("--lg-env", str(CONFIG), *suites, "--farm-out", str(out), "--farm-image", profile)
    )
    assert done.returncode == 1, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    assert verdicts(found) == [
        ("warns", 1, Verdict.FAIL),
        ("is_clean", 1, Verdict.PASS),
        ("device_reads", 1, Verdict.PASS),
    ]
    finished = next(event for event in found if isinstance(event, events.CaseFinished))
    assert "the kernel complained (warning)" in finished.reason and "lkdtm" in finished.reason
    assert any("Call trace" in line for line in finished.console)


def test_labgrid_fixtures_work_on_a_board_config(run_pytest: Pytest, tmp_path: Path) -> None:
    suite = SUITES / "labgrid_suite.py"
    done = run_pytest("--lg-env", str(CONFIG), str(suite), "--farm-out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said", "boots"),
    [
        ("boot_s: 90", "boot_s: 1", "no SSH within 1 s of power-on", 3),
        (
            "farm:\n",
            "farm:\n  ssh: {host_key: ssh-ed25519 "
            "AAAAC3NzaC1lZDI1NTE5AAAAIJbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbxbx}\n",
            "host key is ssh-ed25519",
            1,
        ),
    ],
    ids=["never boots", "wrong host key"],
)
def test_a_board_that_never_gets_ready(
    run_pytest: Pytest, tmp_path: Path, old: str, new: str, said: str, boots: int
) -> None:
    config = tmp_path / "virt-smmuv3.yaml"
    config.write_text(CONFIG.read_text().replace(old, new))
    out = tmp_path / "out"
    suite = SUITES / "faulty_suite.py"
    done = run_pytest("--lg-env", str(config), str(suite), "--farm-out", str(out))
    assert done.returncode == 3, done.stdout
    found = list(events.read_journal(out / "journal.jsonl"))
    assert verdicts(found) == [("passes[cirrus]", 1, Verdict.INFRA)]
    finished = next(event for event in found if isinstance(event, events.CaseFinished))
    assert said in finished.reason
    assert (out / "console.log").read_text().count("-- power on --") == boots
    plan = next(event for event in found if isinstance(event, events.Plan))
    assert len(plan.tests) == 18  # the other seventeen are MISS
    assert found[-1].type == "job_finished"
