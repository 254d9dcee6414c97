"""What the programs of other people's suites have in common: lists, verdicts, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm import inventory
from farm.errors import ConfigError
from farm.external import igt, judging
from farm.external.judging import Ended, Judged
from farm.external.lists import Lists, load_lists
from farm.external.results import Output
from farm.image import bundles, kselftests
from farm.pytest_plugin.api import Bundle, Programs, SubCase, TestBroken, Verdict

FOLDER = Path(__file__).parent / "expectations"
V4L2 = "v4l2-compliance:"
"""What the names of its runs begin with; the device node's name follows."""


def programs_known() -> set[str]:
    """Return every program that a list may name; one ending in ``:`` stands for all such."""
    types = inventory.load_board_types().values()
    profiles = inventory.load_image_profiles().values()
    devices = {d.id for one in (*types, *profiles) for d in one.devices if d.kind == "drm"}
    tests = {f"igt:{device}:{test}" for device in devices for test in (*igt.ON_EACH, *igt.ON_VGEM)}
    tests |= {f"igt:{test}" for test in igt.ON_NONE}
    return {*kselftests.SELFTESTS, V4L2, *tests}


def lists_for(board_type: str, profile: inventory.ImageProfile | None) -> Lists:
    """Return the lists of a board type with an image; see docs/external.md for the names."""
    images: set[str] = set()
    if profile is not None:
        images = {profile.name, profile.path.stem, profile.name.partition("+")[0]}
    return load_lists(
        FOLDER,
        board_type,
        images,
        types=inventory.load_board_types().keys(),
        profiles=inventory.load_image_profiles().keys(),
        programs=programs_known(),
    )


def pytest_collection_modifyitems() -> None:
    """Refuse broken lists before anything boots."""
    try:
        lists_for("", None)
    except ConfigError as error:
        raise pytest.UsageError(*filter(None, [str(error), error.next_step])) from error


@dataclass(frozen=True, slots=True)
class External:
    """Runs programs on the board, parses what they print, and records each of their tests."""

    programs: Programs
    lists: Lists

    def left_out(self, program: str) -> Judged | None:
        """Return the verdict on a program that a list leaves out; None if it is to run."""
        skip = self.lists.skip(program)
        if skip is None:
            return None
        return Judged("", Verdict.SKIP, f"{skip.where} leaves it out: {skip.reason}")

    def run(
        self,
        program: str,
        bundle: Bundle | None,
        words: Sequence[str],
        parse: Callable[[str, str, int], Output],
        *,
        timeout_s: float,
        variables: dict[str, str] | None = None,
        prefix: str = "",
    ) -> Judged:
        """Run ``words`` and return what becomes of the program; ``parse`` gets what it printed.

        ``prefix`` goes before the names of its tests, where one test function runs several.
        """
        left_out = self.left_out(program)
        if left_out is not None:
            return left_out
        done = self.programs.run(
            bundle, words[0], words[1:], timeout_s=timeout_s, variables=variables
        )
        self.programs.keep(f"{program}.log", done.stdout)
        if done.stderr:
            self.programs.keep(f"{program}.err", done.stderr)
        ended = Ended(done.status, done.stopped_s, done.truncated)
        output = parse(done.stdout, done.stderr, done.status)
        own, cases = judging.judge(program, output, ended, self.lists)
        left = done.complaint.left if done.complaint is not None else {}
        leaks, expected = judging.judge_left(program, own.verdict, left, self.lists)
        build = bundle.id if bundle is not None else ""
        told = [
            SubCase(f"{prefix}{one.name}", one.verdict, one.reason, one.duration_s, build)
            for one in (*cases, *leaks)
        ]
        self.programs.tell(told, f"{program}: {own.reason}")
        if done.complaint is not None:
            if not (left and expected):
                raise done.complaint
            self.programs.forgive(done.complaint)
        return own

    def settle(self, found: Sequence[Judged]) -> None:
        """Pass, or end the test as the worst of its programs did; skip it if all were skipped."""
        for verdict, end in _ENDS.items():
            bad = [one.reason for one in found if one.verdict is verdict]
            if bad and (verdict is not Verdict.SKIP or len(bad) == len(found)):
                end("; ".join(bad))


def _broken(reason: str) -> None:
    raise TestBroken(reason)


_ENDS: dict[Verdict, Callable[[str], None]] = {
    Verdict.FAIL: pytest.fail,
    Verdict.XPASS: pytest.fail,
    Verdict.ERROR: _broken,
    Verdict.XFAIL: pytest.xfail,
    Verdict.SKIP: pytest.skip,
}
"""How a test function ends for the worst of its programs, the worst first."""


@pytest.fixture
def external(programs: Programs) -> External:
    """Programs of other people's suites on the board under test."""
    return External(programs, lists_for(programs.type.name, programs.profile))


@pytest.fixture
def igt_tests(programs: Programs) -> Bundle | None:
    """IGT's test programs as Debian builds them, for amd64; none where the board has its own."""
    if "igt" in programs.features:
        return None
    return bundles.emulated(
        "igt",
        ["igt-gpu-tools-tests", "igt-gpu-tools"],
        {test: f"usr/libexec/igt-gpu-tools/{test}" for test in igt.TESTS},
        suite="sid",
        progress=programs.progress,
    )


@pytest.fixture
def v4l_utils(programs: Programs) -> Bundle:
    """v4l2-compliance and v4l2-ctl of Debian 13, with their libraries."""
    return bundles.debian(
        "v4l-utils",
        ["v4l-utils"],
        {"v4l2-compliance": "usr/bin/v4l2-compliance", "v4l2-ctl": "usr/bin/v4l2-ctl"},
        progress=programs.progress,
    )
