"""What other people's programs print: real output, then all that may go wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.external import igt, tap, v4l2compliance
from farm.external.results import MAX_CASES, MAX_NAME, MAX_REASON, Output, Status

UDMABUF = """\
TAP version 13
1..6
ok 1 drivers/dma-buf/udmabuf: [PASS,test-1]
ok 2 drivers/dma-buf/udmabuf: [PASS,test-2]
ok 3 drivers/dma-buf/udmabuf: [PASS,test-3]
ok 4 drivers/dma-buf/udmabuf: [PASS,test-4]
not ok 5 drivers/dma-buf/udmabuf: [FAIL,test-5]
ok 6 drivers/dma-buf/udmabuf: [PASS,test-6]
# drivers/dma-buf/udmabuf: ok
# Totals: pass:5 fail:1 xfail:0 xpass:0 skip:0 error:0
"""
"""Linux 6.12's udmabuf; it ends with exit status 0."""

SYNC = """\
TAP version 13
1..3
# [RUN]\tTesting sync framework
ok 1 [RUN]\ttest_alloc_timeline
ok 2 # SKIP test_alloc_fence
not ok 3 [RUN]\ttest_alloc_fence_negative
# 1 out of 3 sync tests failed
# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
"""

HEAPS = """\
TAP version 13
1..4
# Testing heap: system
# Testing allocation and importing:
ok 1 Import buffer 0
ok 2 test_alloc_and_import dmabuf sync succeeded
# Testing heap: reserved
ok 3 Import buffer 0
# FAIL (Allocated buffer not zeroed @ 3)
not ok 4 Allocate and validate all buffers are zeroed
# Totals: pass:3 fail:1 xfail:0 xpass:0 skip:0 error:0
"""

V4L2 = """\
v4l2-compliance 1.30.1, 64 bits, 64-bit time_t

Compliance test for vivid device /dev/video0:

Driver Info:
\tDriver name      : vivid
\tBus info         : platform:vivid-000

Required ioctls:
\ttest MC information (see 'Media Driver Info' above): OK
\ttest VIDIOC_QUERYCAP: OK

Allow for multiple opens:
\ttest VIDIOC_QUERYCAP: OK

Debug ioctls:
\ttest VIDIOC_DBG_G/S_REGISTER: OK (Not Supported)

Input ioctls:
\t\tfail: v4l2-test-input-output.cpp(469): qextctrl.dims[0] != roundup(fmt.g_width())
\t\tfail: v4l2-test-input-output.cpp(551): vivid pixel array control test failed
\ttest VIDIOC_G/S/ENUMINPUT: FAIL
\tInputs: 0 Audio Inputs: 2 Tuners: 1

Control ioctls (Input 0):
\t\twarn: v4l2-test-controls.cpp(1): odd
\ttest VIDIOC_QUERYCTRL: OK

Test input 0:

Streaming ioctls:
\ttest read/write: OK
\r\tVideo Capture: Frame #000\r\tVideo Capture: Frame #001\r
\ttest MMAP (no poll, REQBUFS): OK                         \t
\ttest DMABUF: Cannot test, specify --expbuf-device

Total for vivid device /dev/video0: 8, Succeeded: 7, Failed: 1, Warnings: 1
"""

IGT = """\
IGT-Version: 2.1-g26ddb59c1 (aarch64) (Linux: 6.12.107 aarch64)
Using IGT_SRANDOM=1762774806 for randomisation
Opened device: /dev/dri/card1
Starting subtest: background-color-red
Starting dynamic subtest: pipe-C-DP-1
Dynamic subtest pipe-C-DP-1: SUCCESS (0.491s)
Subtest background-color-red: SUCCESS (0.493s)
Starting subtest: basic-read
(prime_vgem:812) CRITICAL: Test assertion failure function test_read, file ../tests/prime_vgem.c:41:
(prime_vgem:812) CRITICAL: Failed assertion: ptr[i] == i
Subtest basic-read: FAIL (0.010s)
Starting subtest: coherency-gtt
Test requirement not met in function gem_require_mmap, file ../tests/prime_vgem.c:120:
Subtest coherency-gtt: SKIP (0.000s)
"""


DATA = Path(__file__).parents[1] / "data" / "igt"
"""What IGT 2.5 printed on virt-smmuv3 with reference-6.12, told to take vkms."""
REAL = {path.stem: path.read_text() for path in DATA.glob("*.out")}
REAL_ERRORS = (DATA / "kms_prime.err").read_text()
REAL_RESULTS = (DATA / "kms_addfb_basic.json").read_text()
"""What igt_runner of IGT 2.5 wrote on virt-smmuv3 with debian-13, its tests told to take cirrus."""


def told(output: Output) -> dict[str, str]:
    return {case.name: str(case.status) for case in output.cases}


def test_a_selftest_is_believed_by_its_tap() -> None:
    output = tap.parse(UDMABUF, 0)
    assert output.whole
    assert told(output) == {
        "test-1": "Pass", "test-2": "Pass", "test-3": "Pass", "test-4": "Pass", "test-5": "Fail",
        "test-6": "Pass",
    }  # fmt: skip


def test_names_stand_behind_a_directive_too() -> None:
    output = tap.parse(SYNC, 1)
    assert output.whole
    assert told(output) == {
        "test_alloc_timeline": "Pass",
        "test_alloc_fence": "Skip",
        "test_alloc_fence_negative": "Fail",
    }


def test_heaps_have_tests_of_the_same_names() -> None:
    output = tap.parse(HEAPS, 1, group=tap.HEAP)
    assert list(told(output)) == [
        "system/Import buffer",
        "system/test_alloc_and_import dmabuf sync succeeded",
        "reserved/Import buffer",
        "reserved/Allocate and validate all buffers are zeroed",
    ]
    assert output.cases[-1].reason == "FAIL (Allocated buffer not zeroed @ 3)"


def test_an_expected_failure_of_theirs_is_one() -> None:
    text = "TAP version 13\n1..2\nok 1 # XFAIL not there yet\nok 2 a # XFAIL why\n"
    assert told(tap.parse(text, 0)) == {"not there yet": "ExpectedFail", "a": "ExpectedFail"}


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("TAP version 13\n1..0 # SKIP no device\n", 4, "no device"),
        ("TAP version 13\n1..10\nok 2 # SKIP not supported by kernel\n", 4, "not supported"),
        ("TAP version 13\n1..6\n# drivers/dma-buf/udmabuf: [skip,no-udmabuf]\n", 4, "no-udmabuf"),
        ("TAP version 13\n1..6\n", 4, "does not say why"),
        ("TAP version 13\n1..0\n", 0, "no tests"),
        ("TAP version 13\n# No /dev/dma_heap directory?\n", 4, "No /dev/dma_heap"),
    ],
)
def test_a_selftest_that_runs_nothing_is_skipped(text: str, status: int, why: str) -> None:
    output = tap.parse(text, status)
    assert why in output.skipped and not output.problem and not output.cases


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no TAP"),
        ("hello\n", "no TAP"),
        ("ok 1 a\n", "no result"),
        ("TAP version 13\nok 1 a\n", "no plan"),
        ("TAP version 13\n1..2\nok 1 a\n", "planned 2 tests and told of 1"),
        ("TAP version 13\n1..1\nok 1 a\nok 2 b\n", "planned 1 tests and told of 2"),
        ("TAP version 13\n1..2\nok 2 a\n", "result 2 where 1"),
        ("TAP version 13\n1..1\n1..1\nok 1 a\n", "no plan was expected"),
        ("TAP version 13\n1..x\n", "no plan was expected"),
        ("TAP version 13\nTAP version 13\n1..1\n", "second version"),
        ("TAP version 13\n1..1\nok one\n", "no result"),
        (UDMABUF.replace("fail:1", "fail:0"), "totals say 5 Pass, 0 Fail"),
        (UDMABUF[: UDMABUF.index("ok 6")], "planned 6 tests and told of 5"),
        (UDMABUF.replace("pass:5", "pass:4").replace("skip:0", "skip:1"), "totals say 4 Pass"),
        ("TAP version 13\n1..2\nok 2 # SKIP so\n", "gave up (so) with exit status 0"),
    ],
)
def test_a_selftest_that_contradicts_itself_is_not_believed(text: str, problem: str) -> None:
    output = tap.parse(text, 0)
    assert problem in output.problem and not output.whole


PASSES = "TAP version 13\n1..1\nok 1 a\n"


@pytest.mark.parametrize(
    ("text", "status", "problem"),
    [
        (PASSES, 1, "none of its tests failed, and its exit status is 1"),
        (PASSES, 99, "none of its tests failed"),
        (PASSES, 2, "none of its tests failed"),
        (PASSES, 4, "its exit status says that it skipped them"),
        ("hello\n", 4, "no TAP"),
        ("TAP version 13\n1..2\nok 2 a\n", 4, "result 2 where 1"),
        ("TAP version 13\n1..2\nok 2 # SKIP so\nok 3 b\n", 4, "after it had given up"),
    ],
)
def test_an_exit_status_that_contradicts_is_not_believed(
    text: str, status: int, problem: str
) -> None:
    assert problem in tap.parse(text, status).problem


def test_a_word_of_a_name_is_no_directive() -> None:
    text = "TAP version 13\n1..2\nok 1 handle #skip list of fds\nok 2 # skip nothing\n"
    assert set(told(tap.parse(text, 0)).values()) == {"Pass"}


def test_a_pass_that_the_program_did_not_expect_is_a_failure() -> None:
    text = "TAP version 13\n1..1\nok 1 a # XPASS why\n"
    assert told(tap.parse(f"{text}# Totals: pass:0 fail:0 xfail:0 xpass:1 skip:0 error:0", 3)) == {
        "a": "Fail"
    }


def test_a_selftest_may_give_up_before_its_plan_is_done() -> None:
    cut = UDMABUF[: UDMABUF.index("not ok 5")] + "# drivers/dma-buf/udmabuf: ubuf_fd mmap fail\n"
    output = tap.parse(cut, 1)
    assert not output.problem and len(output.cases) == 4
    assert output.ended.endswith("told of 4: drivers/dma-buf/udmabuf: ubuf_fd mmap fail")
    for status in (0, 139):
        assert tap.parse(cut, status).problem == "it planned 6 tests and told of 4"
    assert output.untold == ("#5", "#6")
    skipped = tap.parse(cut, 4)
    assert skipped.skipped.endswith("mmap fail") and len(skipped.cases) == 4


def test_a_selftest_may_bail_out() -> None:
    output = tap.parse("TAP version 13\n1..9\nok 1 a\nBail out! cannot open heap\n", 1)
    assert output.ended == "it bailed out: cannot open heap" and not output.problem
    assert told(output) == {"a": "Pass"}


def test_v4l2_compliance_names_sections_and_reasons() -> None:
    output = v4l2compliance.parse(V4L2, 1)
    assert output.whole, output.problem
    assert told(output) == {
        "Required ioctls/MC information (see 'Media Driver Info' above)": "Pass",
        "Required ioctls/VIDIOC_QUERYCAP": "Pass",
        "Allow for multiple opens/VIDIOC_QUERYCAP": "Pass",
        "Debug ioctls/VIDIOC_DBG_G/S_REGISTER": "Skip",
        "Input ioctls/VIDIOC_G/S/ENUMINPUT": "Fail",
        "Control ioctls (Input 0)/VIDIOC_QUERYCTRL": "Pass",
        "Streaming ioctls (Input 0)/read/write": "Pass",
        "Streaming ioctls (Input 0)/MMAP (no poll, REQBUFS)": "Pass",
        "Streaming ioctls (Input 0)/DMABUF": "Skip",
    }
    reasons = {case.name: case.reason for case in output.cases}
    assert reasons["Input ioctls/VIDIOC_G/S/ENUMINPUT"].startswith(
        "v4l2-test-input-output.cpp(469)"
    )
    assert reasons["Control ioctls (Input 0)/VIDIOC_QUERYCTRL"].startswith("warnings: v4l2-test")
    assert reasons["Streaming ioctls (Input 0)/DMABUF"] == "cannot test, specify --expbuf-device"


@pytest.mark.parametrize(
    ("text", "status", "problem"),
    [
        ("", 1, "no 'Compliance test for'"),
        (V4L2[: V4L2.index("Total for")], 1, "ends before 'Total for'"),
        (V4L2.replace("Failed: 1", "Failed: 0"), 1, "its total says 8 tests and 0 failed"),
        (V4L2.replace("\ttest read/write: OK\n", ""), 1, "its results 7 and 1"),
        (V4L2, 0, "1 of its tests failed, and its exit status is 0"),
        (V4L2.replace("Failed: 1", "Failed: 0").replace(": FAIL", ": OK"), 1, "0 of its tests"),
    ],
)
def test_v4l2_compliance_that_is_cut_or_contradicts_itself_is_not_believed(
    text: str, status: int, problem: str
) -> None:
    assert problem in v4l2compliance.parse(text, status).problem


def test_igt_tells_of_subtests_and_dynamic_ones() -> None:
    output = igt.parse("prime_vgem", IGT, igt.Exit.FAILURE)
    assert output.whole, output.problem
    assert told(output) == {
        "background-color-red@pipe-C-DP-1": "Pass",
        "background-color-red": "Pass",
        "basic-read": "Fail",
        "coherency-gtt": "Skip",
    }
    failed, skipped = output.cases[2:]
    assert "Failed assertion: ptr[i] == i" in failed.reason and failed.duration_s == 0.010
    assert "gem_require_mmap" in skipped.reason


@pytest.mark.parametrize(
    ("test", "status", "expected"),
    [
        ("vgem_basic", 0, {"Pass": 15, "Skip": 1}),
        ("kms_getfb", 0, {"Pass": 12, "Skip": 2}),
        ("kms_prime", 98, {"Skip": 3, "Fail": 2}),
        ("prime_vgem", 77, {"Skip": 18}),
    ],
)
def test_what_igt_really_prints_is_understood(
    test: str, status: int, expected: dict[str, int]
) -> None:
    output = igt.parse(test, REAL[test], status, REAL_ERRORS if test == "kms_prime" else "")
    assert output.whole, output.problem
    assert Counter(told(output).values()) == expected
    for case in output.cases:
        assert case.status is not Status.SKIP or "requirement" in case.reason


def test_why_an_igt_test_failed_is_on_stderr() -> None:
    output = igt.parse("kms_prime", REAL["kms_prime"], 98, REAL_ERRORS)
    failed = {case.name: case.reason for case in output.cases if case.status is Status.FAIL}
    assert list(failed) == ["basic-crc-vgem@second-to-first", "basic-crc-vgem"]
    assert failed["basic-crc-vgem@second-to-first"] == (
        "Test assertion failure function get_intel_driver, file ../lib/drmtest.c:178:; "
        "Failed assertion: 0; Device is not handled by Intel driver"
    )


def test_what_a_thread_of_an_igt_test_says_is_a_reason_too() -> None:
    text = IGT.replace("(prime_vgem:812) CRITICAL", "ignored")
    errors = (
        "[229.68] (prime_vgem:7) [thread:8] CRITICAL: Failed assertion: it waited\n"
        "Subtest basic-read failed.\n**** DEBUG ****\n"
        "(prime_vgem:7) CRITICAL: once more\n****  END  ****\nSubtest other failed.\n"
    )
    output = igt.parse("prime_vgem", text, 98, errors)
    reasons = {case.name: case.reason for case in output.cases}
    assert reasons["basic-read"] == "Failed assertion: it waited"


@pytest.mark.parametrize("test", REAL)
@given(st.data())
def test_igt_cut_anywhere_tells_no_more_than_it_said(test: str, data: st.DataObject) -> None:
    text = REAL[test]
    whole = told(igt.parse(test, text, 98))
    cut = told(igt.parse(test, text[: data.draw(st.integers(0, len(text) - 1))], 134))
    for name, status in cut.items():
        assert whole.get(name) == status or status == "Crash"


def test_an_igt_test_without_subtests_is_a_case_of_its_own_name() -> None:
    text = "IGT-Version: 1.30 (aarch64) (Linux: 6.12 aarch64)\nSUCCESS (0.002s)\n"
    output = igt.parse("core_auth", text, 0)
    assert told(output) == {"core_auth": "Pass"} and output.whole


def test_an_igt_subtest_that_was_planned_and_not_told_of_is_missing() -> None:
    output = igt.parse("prime_vgem", IGT, igt.Exit.FAILURE, planned=["basic-read", "basic-write"])
    assert told(output)["basic-write"] == "Missing" and told(output)["basic-read"] == "Fail"


@pytest.mark.parametrize("status", [134, 112, 0])
def test_an_igt_subtest_that_never_ends_crashed(status: int) -> None:
    output = igt.parse("prime_vgem", IGT[: IGT.index("Subtest basic-read")], status)
    assert told(output)["basic-read"] == "Crash"
    assert bool(output.problem) == (status == 0)


@pytest.mark.parametrize(
    ("text", "status", "problem"),
    [
        ("", 0, "no 'IGT-Version:'"),
        (IGT, 0, "tell of a failure, its exit status is 0"),
        (IGT.replace("FAIL", "SUCCESS"), 98, "tell of no failure, its exit status is 98"),
        (IGT.replace("FAIL", "WHAT"), 98, "unknown result 'WHAT'"),
        ("IGT-Version: 1\n", 0, "no result"),
        (IGT, 79, "rejects how it was called"),
        (IGT.replace("Subtest basic-read", "Subtest other"), 98, "subtest other ends"),
    ],
)
def test_igt_that_contradicts_itself_is_not_believed(text: str, status: int, problem: str) -> None:
    assert problem in igt.parse("prime_vgem", text, status).problem


def results(**tests: str) -> str:
    rows = {
        f"igt@t@{name}": {"out": "", "err": "", "result": word, "time": {"start": 1.0, "end": 1.5}}
        for name, word in tests.items()
    }
    counts = {"__type__": "Totals", "fail": 0, **Counter(tests.values())}
    return json.dumps(
        {
            "__type__": "TestrunResult",
            "results_version": 10,
            "tests": rows,
            "totals": {"": counts, "root": counts},
        }
    )


def test_what_igt_runner_really_writes_is_understood() -> None:
    planned = ["unused-handle", "tiled"]
    output = igt.parse_results(REAL_RESULTS, "kms_addfb_basic", planned=planned)
    assert output.whole, output.problem
    assert told(output) == {
        "unused-handle": "Pass",
        "size-max": "Fail",
        "addfb25-modifier-no-flag": "Pass",
        "basic-y-tiled-legacy": "Skip",
        "tiled": "Missing",
    }
    reasons = {case.name: case.reason for case in output.cases}
    assert reasons["size-max"].startswith(
        "fail; Test assertion failure function size_tests, file ../tests/kms_addfb_basic.c:594:; "
    )
    assert "requirement" not in reasons["size-max"]  # of another part of the same program
    assert reasons["basic-y-tiled-legacy"] == (
        "skip; Test requirement not met in function igt_require_intel, "
        "file ../lib/drmtest.c:993:; Test requirement: is_intel_device(fd)"
    )
    assert output.cases[1].duration_s == 1.52


def test_what_the_kernel_warned_of_is_the_reason_of_a_warning() -> None:
    content = json.loads(REAL_RESULTS)
    row = content["tests"]["igt@kms_addfb_basic@unused-handle"]
    row["result"] = "dmesg-warn"
    row["dmesg"] += "<4> [1085.5] WARNING: CPU: 0 PID: 1 at a.c:1 f()\n<7> [1085.6] as ever\n"
    content["tests"] = {"igt@kms_addfb_basic@unused-handle": row}
    del content["totals"]
    (case,) = igt.parse_results(json.dumps(content), "kms_addfb_basic").cases
    assert case.status is Status.FAIL
    assert case.reason == "dmesg-warn; WARNING: CPU: 0 PID: 1 at a.c:1 f()"


def test_without_results_igt_runners_last_word_is_told() -> None:
    said = igt.parse_results("", "t", "Cannot open x/test-list.txt\nFailed to create job list\n")
    assert said.problem == "igt_runner wrote no results.json: Failed to create job list"


def test_results_of_igt_runner() -> None:
    output = igt.parse_results(results(a="pass", b="incomplete", c="notrun", d="dmesg-warn"), "t")
    assert output.whole
    assert told(output) == {"a": "Pass", "b": "Crash", "c": "Missing", "d": "Fail"}
    assert output.cases[0].duration_s == 0.5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "igt_runner wrote no results.json: no word why"),
        ("{}", "none of igt_runner's"),
        ("[" * 100_000, "none of igt_runner's"),
        (results(), "no test"),
        (results(a="odd"), "unknown result 'odd'"),
        (results(a="pass").replace("igt@t@a", "igt@u"), "tells of 'igt@u', not of t"),
        (results(a="pass")[:-3], "none of igt_runner's"),
        (results(a="pass").replace('"pass": 1', '"pass": 2'), "totals are"),
        (" " * (igt.MAX_JSON + 1), "more than"),
    ],
)
def test_results_that_are_none_are_told_so(text: str, problem: str) -> None:
    assert problem in igt.parse_results(text, "t").problem


# --- anything at all ------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        line
        for text in (UDMABUF, SYNC, HEAPS, V4L2, IGT, *REAL.values(), REAL_ERRORS)
        for line in text.splitlines()
    ]
)
RUBBISH = st.lists(LINES | st.text(max_size=80), max_size=60).map("\n".join)
STATUS = st.integers(0, 255)


def bounded(output: Output) -> None:
    names = [case.name for case in output.cases]
    assert len(set(names)) == len(names) <= MAX_CASES
    for case in output.cases:
        assert case.name and len(case.name) <= MAX_NAME + 12 and case.name.isprintable()
        assert len(case.reason) <= MAX_REASON and (case.reason.isprintable() or not case.reason)
        assert isinstance(case.status, Status) and case.duration_s >= 0
    assert len(output.untold) <= MAX_CASES
    assert len(output.problem) <= 1000 and "\n" not in output.problem


@given(RUBBISH, STATUS)
def test_no_output_breaks_a_parser(text: str, status: int) -> None:
    bounded(tap.parse(text, status, group=tap.HEAP))
    bounded(v4l2compliance.parse(text, status))
    bounded(igt.parse("a_test", text, status, text))
    bounded(igt.parse_results(text, "t"))


@given(st.integers(0, len(UDMABUF) - 1))
def test_a_selftest_that_is_cut_anywhere_is_never_whole_with_fewer_tests(at: int) -> None:
    output = tap.parse(UDMABUF[:at], 0)
    assert not output.whole or len(output.cases) == 6


@given(st.integers(0, len(V4L2) - 2))
def test_v4l2_compliance_that_is_cut_anywhere_is_not_whole(at: int) -> None:
    assert not v4l2compliance.parse(V4L2[:at], 1).whole


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=9) | st.floats(), lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["__type__", "tests", "totals", "", "igt@a", "result", "time", "start", "pass"]), inner)
)))  # fmt: skip
def test_no_json_breaks_the_parser_of_results(content: object) -> None:
    bounded(igt.parse_results(json.dumps(content), "a"))


def test_very_much_output_is_taken_in_bounded_memory() -> None:
    many = "TAP version 13\n1..20000\n" + "".join(f"ok {n} t\n" for n in range(1, 20_001))
    output = tap.parse(many, 0)
    assert "more than 10000" in output.problem and len(output.cases) == MAX_CASES
    output = v4l2compliance.parse("Compliance test for x:\n" + "\ttest a: OK\n" * 20_000, 0)
    assert "more than 10000" in output.problem and len(output.cases) == MAX_CASES
    text = "IGT-Version: 1\n" + "Subtest a: SUCCESS (0.1s)\n" * 20_000
    output = igt.parse("t", text, 0)
    assert "more than 10000" in output.problem and len(output.cases) == MAX_CASES
    assert tap.parse("x" * (4 << 20), 0).problem == "it printed no TAP"
