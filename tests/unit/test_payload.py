"""The payload's harness, driven on this machine: blocks, limits, leaks, bad input, a lost link."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from farm.board.ktap import parse_block
from farm.board.payload import Payload, build
from tests.support.serving import Serving


@pytest.fixture(scope="session")
def payload() -> Payload:
    return build("host")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def serving(payload: Payload) -> Iterator[Serving]:
    served = Serving(payload)
    assert re.fullmatch(r"payload 1 [0-9a-f]{64}", served.line())
    yield served
    served.close()


def run(payload: Payload, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [payload.path, "run", *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def plain(lines: list[str]) -> list[str]:
    """Leave out what differs from run to run: times, and what the machine's kernel logs."""
    kept = [line for line in lines if not line.startswith("# dmesg ")]
    return [re.sub(r"(name=wall value=)\d+", r"\1N", line) for line in kept]


WALL = "# sample name=wall value=N unit=ns phase=case seq="

ENDINGS = {
    "self_fail": (
        1,
        [f"{WALL}0"],
        ["not ok 1 self_fail # saw 2\\x0aexpected \\xff 1 (selftest.c:LINE)", "# outcome fail"],
        1,
    ),
    "self_skip": (
        4,
        [f"{WALL}0"],
        ["ok 1 self_skip # SKIP nothing here to test", "# outcome skip"],
        1,
    ),
    "self_broken": (
        3,
        [f"{WALL}0"],
        [
            "not ok 1 self_broken # no control was above zero (selftest.c:LINE)",
            "# outcome error",
        ],
        1,
    ),
    "self_crash": (
        3,
        ["# sample name=before value=1 unit=count phase=crash seq=0", f"{WALL}1"],
        ["not ok 1 self_crash # crashed: SIGSEGV", "# outcome error crash"],
        2,
    ),
    "self_abort": (
        3,
        ["# sample name=before value=1 unit=count phase=crash seq=0", f"{WALL}1"],
        ["not ok 1 self_abort # crashed: SIGABRT", "# outcome error crash"],
        2,
    ),
    "self_hang": (
        1,
        ["# sample name=before value=1 unit=count phase=hang seq=0", f"{WALL}1"],
        ["not ok 1 self_hang # exceeded its limit of 2000 ms", "# outcome timeout limit"],
        2,
    ),
    "self_leak": (
        3,
        [f"{WALL}0"],
        [
            "not ok 1 self_leak # the case left file descriptors open: FD (/dev/zero)",
            "# outcome error",
        ],
        1,
    ),
    "self_exit": (
        3,
        [f"{WALL}0"],
        ["not ok 1 self_exit # exited with status 0 before its verdict", "# outcome error exit"],
        1,
    ),
    "self_orphan": (
        3,
        [f"{WALL}0"],
        ["not ok 1 self_orphan # left 1 process running", "# outcome error process"],
        1,
    ),
    "self_spawn": (
        1,
        [f"{WALL}0"],
        [
            "not ok 1 self_spawn # a spawned process says no (selftest.c:LINE)",
            "# outcome fail",
        ],
        1,
    ),
    "self_window": (
        3,
        [f"{WALL}0"],
        [
            "not ok 1 self_window # window_begin() inside a window (selftest.c:LINE)",
            "# outcome error",
        ],
        1,
    ),
    "self_rubbish": (
        0,
        [
            "# output ok 1 self_rubbish",
            "# output # end id=1 samples=0",
            "# output \\x00\\x1b[2J\\xff\\xfe\\x0d",
            "# output a line without an end",
            f"{WALL}0",
        ],
        ["ok 1 self_rubbish", "# outcome pass"],
        1,
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_has_its_exact_block(payload: Payload, name: str) -> None:
    status, records, ending, samples = ENDINGS[name]
    case = payload.case(name)
    assert case is not None

    done = run(payload, name)

    lines = [
        re.sub(r"selftest\.c:\d+", "selftest.c:LINE", line)
        for line in plain(done.stdout.decode("ascii").splitlines())
    ]
    lines = [re.sub(r"open: \d+ ", "open: FD ", line) for line in lines]
    assert lines == [
        "KTAP version 1",
        "1..1",
        f"# case name={name} id=manual hash={case.hash}",
        *records,
        *ending,
        f"# end id=manual samples={samples}",
    ]
    assert done.returncode == status
    assert parse_block(done.stdout, name, "manual").outcome in ending[1]


def test_parameters_come_from_the_command_or_the_default(payload: Payload) -> None:
    done = run(payload, "self_pass", "word=a%20%25b")

    block = parse_block(done.stdout, "self_pass", "manual")

    assert block.outcome == "pass"
    assert block.info == {"word": "a %b", "number": "42"}
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("oops=1", "the case takes no parameter 'oops', only: word=hello number=42 must="),
        ("word=must", "parameter 'must' is missing (selftest.c:"),
        ("number=12x", "parameter number=12x is not a number (selftest.c:"),
        ("number=-1", "parameter number=-1 is not a number (selftest.c:"),
    ],
)
def test_a_wrong_parameter_is_an_error(payload: Payload, argument: str, reason: str) -> None:
    block = parse_block(run(payload, "self_pass", argument).stdout, "self_pass", "manual")

    assert block.outcome == "error"
    assert block.reason.startswith(reason)


MAPPED = (
    "   payload-123   [001] .....    15.57: dma_map_sg: 0000:00:02.0 dir=BIDIRECTIONAL "
    "nents=3/3 ents=2/2 dma_addrs={0xfff00000,0xfff10000} sizes={0x10000,0x1000} "
    "phys_addrs={0x4a000000,0x49000000,0x48000000} attrs=SKIP_CPU_SYNC"
)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (MAPPED, ["[0000:00:02.0]", "3 2 2", "0xfff00000 69632 65536", "yes"]),
        (
            MAPPED.replace("nents=3/3 ents=2/2", "nents=128/256 ents=128/200 [TRUNCATED]"),
            ["[0000:00:02.0]", "256 200 2", "0xfff00000 69632 65536", "yes"],
        ),
        (  # before the event told how many there are
            MAPPED.replace("nents=3/3 ents=2/2 ", "").replace("0xfff10000", "0xfff20000"),
            ["[0000:00:02.0]", "3 2 2", "0xfff00000 69632 65536", "no"],
        ),
        ("cut off: dma_map_sg: x dma_addrs={0x", ["[x]", "0 0 0", "0 0 0", "yes"]),
        ("dma_addrs={0x1,0x2} sizes={0x1", ["[]", "0 1 1", "0x1 1 1", "yes"]),
        ("# tracer: nop", ["[]", "0 0 0", "0 0 0", "yes"]),
    ],
)
def test_a_line_of_the_trace_is_read(payload: Payload, line: str, told: list[str]) -> None:
    done = run(payload, "self_trace", f"line={quote(line)}")

    assert list(parse_block(done.stdout, "self_trace", "manual").info.values()) == told


FIELDS = (  # dma_map_sg of Linux 6.16.12; what 6.12.107 has besides
    "name: dma_map_sg\nID: 1\nformat:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
    "\tfield:__data_loc char[] device;\toffset:8;\tsize:4;\tsigned:0;\n"
)
ARRAY = "\tfield:__data_loc u64[] phys_addrs;\toffset:12;\tsize:4;\tsigned:0;\n"
CUT = "\tfield:bool truncated;\toffset:20;\tsize:1;\tsigned:0;\n"


@pytest.mark.parametrize(
    ("fields", "bound"), [(FIELDS, "yes"), (FIELDS + ARRAY, "no"), (FIELDS + CUT + ARRAY, "yes")]
)
def test_events_whose_records_have_no_bound_are_told(
    payload: Payload, tmp_path: Path, fields: str, bound: str
) -> None:
    (tmp_path / "format").write_text(fields)

    done = run(payload, "self_format", f"file={quote(str(tmp_path / 'format'))}")

    assert parse_block(done.stdout, "self_format", "manual").info == {"bound": bound}


@pytest.mark.parametrize("format", ["GREY", "YU12", "NV12", "RGB3", "XR24"])
def test_a_picture_is_the_same_however_it_is_laid_out(payload: Payload, format: str) -> None:
    done = run(payload, "self_layouts", f"format={format}")

    info = parse_block(done.stdout, "self_layouts", "manual").info
    components = {"GREY": 1, "XR24": 4}.get(format, 3)
    assert (info["copied"], info["padding"]) == ("inf", "inf"), "padding is no part of a picture"
    assert int(info["changed"]) == components - 1, "the component that a sample was changed in"
    assert 40 < float(info["psnr"]) < 100, "of one sample of 64x48 that differs by 100"


def test_samples_are_numbered_in_their_order(payload: Payload) -> None:
    block = parse_block(run(payload, "self_samples", "count=300").stdout, "self_samples", "manual")

    assert [(s.name, s.value, s.phase) for s in block.samples[:2]] == [
        ("latency", 0.1, "wake"),
        ("step", 0.0, "loop"),
    ]
    assert [s.value for s in block.samples if s.name == "step"] == [i * 1e6 for i in range(300)]
    assert [s.phase for s in block.samples if s.name == "wall"] == ["first", "again", "case"]


def test_threads_lose_no_sample(payload: Payload) -> None:
    block = parse_block(run(payload, "self_threads").stdout, "self_threads", "manual")

    assert sorted(s.value for s in block.samples if s.name == "thread") == [0, 1, 2, 3]


def test_more_than_the_harness_keeps_is_an_error_and_never_a_pass(payload: Payload) -> None:
    block = parse_block(run(payload, "self_overflow").stdout, "self_overflow", "manual")

    assert (block.outcome, block.reason) == ("error", "told more than the harness can keep")


def test_a_flood_of_output_is_cut_and_costs_no_verdict(payload: Payload) -> None:
    done = run(payload, "self_flood", "kib=256")

    assert len(done.stdout) < 80_000
    assert b"# output [196608 bytes more]\n" in done.stdout
    assert parse_block(done.stdout, "self_flood", "manual").outcome == "pass"


def test_the_time_limit_kills_every_process_of_the_case(payload: Payload, fifo: Path) -> None:
    process = subprocess.Popen(
        [payload.path, "run", "self_hang", f"fifo={fifo}"],
        stdout=subprocess.PIPE,
    )
    with fifo.open("rb") as reader:
        told = reader.read()  # ends when the last writer is gone
    output, _ = process.communicate()

    assert told == b"xxx"
    block = parse_block(output, "self_hang", "manual")
    assert (block.outcome, block.reason) == ("timeout", "exceeded its limit of 2000 ms")


def test_a_lost_link_kills_the_running_case_at_once(payload: Payload, fifo: Path) -> None:
    serving = Serving(payload)
    serving.line()
    serving.send(f"run 1 60000 self_hang fifo={fifo}")
    with fifo.open("rb") as reader:
        assert reader.read(3) == b"xxx"
        assert serving.process.stdin is not None and serving.process.stdout is not None
        serving.process.stdin.close()
        assert reader.read() == b""
    assert serving.process.stdout.read() == b""
    assert serving.close() == 0


def test_a_killed_server_takes_the_running_case_with_it(payload: Payload) -> None:
    serving = Serving(payload)
    serving.line()
    serving.send("run 1 0 link_drop")

    assert serving.line() == ""
    assert serving.close() == -signal.SIGKILL


def test_serving_answers_in_order_and_keeps_what_comes_while_a_case_runs(
    serving: Serving, payload: Payload
) -> None:
    serving.send("run 7 100 self_hang", "run 8 0 self_pass", "ping 9")

    hung, passed = serving.until("# end "), serving.until("# end ")

    assert hung[-3:-1] == [
        "not ok 1 self_hang # exceeded its limit of 100 ms",
        "# outcome timeout limit",
    ]
    assert passed[-3:] == ["ok 1 self_pass", "# outcome pass", "# end id=8 samples=1"]
    assert serving.line() == "pong 9"


def test_a_script_that_ends_with_quit_runs_to_its_end(payload: Payload) -> None:
    done = subprocess.run(
        [payload.path, "serve"],
        input=b"run 1 100 self_hang\nrun 2 0 self_skip\nquit\n",
        stdout=subprocess.PIPE,
        check=True,
    )

    assert [line for line in done.stdout.splitlines() if line.startswith(b"# outcome")] == [
        b"# outcome timeout limit",
        b"# outcome skip",
    ]


def test_an_unknown_case_has_a_block_of_its_own(serving: Serving) -> None:
    assert serving.block("run 1 0 no_such_case") == [
        "KTAP version 1",
        "1..1",
        "# case name=no_such_case id=1 hash=0000000000000000",
        "not ok 1 no_such_case # this payload has no such case",
        "# outcome error unknown",
        "# end id=1 samples=0",
    ]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("hello there", "error unknown command: hello"),
        (b"\x80\xff\x1b[2J", "error unknown command: \\x80\\xff\\x1b[2J"),
        (b"ping \x00 1", "error the line has a NUL byte"),
        ("ping", "error unknown command: ping"),
        ("x" * 8192, "error the line is too long"),
        ("x" * 300_000, "error the line is too long"),
        ("ping " + "1 " * 200, "error the line has too many words"),
        ("run 1 0", "error expected run ID TIMEOUT_MS CASE key=value"),
        ("run a/b 0 self_pass", "error the run's id is not a name: a/b"),
        ("run 1 soon self_pass", "error the time limit is not a number of milliseconds: soon"),
        ("run 1 0 ../self", "error the case is not a name: ../self"),
        ("run 1 0 self_pass word", "error a parameter is not key=value: word"),
        ("run 1 0 self_pass w/d=1", "error a parameter's key is not a name: w/d=1"),
        ("run 1 0 self_pass word=%0", "error a parameter's value is not percent-encoded text: "
         "word=%0"),
        ("run 1 0 self_pass word=%00", "error a parameter's value is not percent-encoded text: "
         "word=%00"),
    ],
)  # fmt: skip
def test_no_line_stops_the_server(serving: Serving, line: str | bytes, answer: str) -> None:
    serving.send(line, "", "  ", "ping still-here")

    assert serving.line() == answer
    assert serving.line() == "pong still-here"


def test_counters_are_counted_or_absent_with_a_reason(serving: Serving) -> None:
    serving.send(
        "counters switches=sw:3 clock=sw:0 cycles=hw:0 maps=tp:dma:dma_map_sg "
        "unmaps=kprobe:dma_unmap_sg_attrs nothing=irq:no-such-interrupt word=what:1 sw:3"
    )
    answers = serving.until("counters done")[:-1]

    assert answers[-3:] == [
        "counter nothing absent no line of /proc/interrupts contains 'no-such-interrupt'",
        "counter word absent unknown source 'what:1', expected one of tp: kprobe: sw: hw: "
        "cache: pmu: irq: irqs: level: change: bufinfo: balance:",
        "error counter 'sw:3' is not NAME=SOURCE",
    ]
    counted = {a.split()[1] for a in answers if a.startswith("counter ") and a.endswith(" ok")}
    absent = {
        match[1]: match[2]
        for match in (re.fullmatch(r"counter (\S+) absent (\S.*)", a) for a in answers)
        if match
    }
    assert counted | set(absent) == {
        "switches", "clock", "cycles", "maps", "unmaps", "nothing", "word",
    }  # fmt: skip

    lines = serving.block("run 1 0 self_samples")
    block = parse_block("\n".join([*lines, ""]).encode(), "self_samples", "1")

    assert block.absent.keys() <= counted, "what is absent for good was told when it was opened"
    for phase in ("first", "again", "case"):
        given = {sample.name for sample in block.samples if sample.phase == phase}
        assert given & (counted | set(absent)) == counted - set(block.absent)


def test_a_counter_is_counted_in_the_first_way_that_works(serving: Serving) -> None:
    serving.send(
        "counters a=irq:no-such |irq:CPU |what:1 b=irq:CPU |what:2 c=irq:no-such |what:3 d=irq:CPU"
    )
    a, b, c, d, _ = serving.until("counters done")

    assert (a, b, d) == ("counter a ok", "counter b ok", "counter d ok")
    assert c.startswith(
        "counter c absent no line of /proc/interrupts contains 'no-such'; unknown source 'what:3'"
    )
    counted = [line.split()[2] for line in serving.block("run 1 0 self_pass") if " unit=" in line]
    assert counted == ["name=wall", "name=a", "name=b", "name=d"]


def test_opening_counters_again_replaces_them(serving: Serving) -> None:
    serving.send(
        "counters a=level:B:1:/proc/meminfo#MemTotal a=irq:x wall=irq:CPU paused=irq:CPU",
        "run 1 0 self_pass",
        "counters b=irq:no-such-interrupt",
    )

    assert serving.until("counters done")[1:] == [
        "error counter 'a=irq:x' has a name that is taken",
        "error counter 'wall=irq:CPU' has a name that is taken",
        "error counter 'paused=irq:CPU' has a name that is taken",
        "counters done",
    ]
    assert any(" name=a " in line for line in serving.until("# end id=1 samples=2"))
    assert serving.until("counters done") == [
        "counter b absent no line of /proc/interrupts contains 'no-such-interrupt'",
        "counters done",
    ]
    assert not any(" name=a " in line for line in serving.block("run 2 0 self_pass"))


@pytest.mark.parametrize(
    "spec", ["x=tp:../../etc:id", "x=tp:dma", "x=kprobe:a/b", "x=sw:", "x=hw:z"]
)
def test_a_counter_that_names_no_event_is_absent(serving: Serving, spec: str) -> None:
    serving.send(f"counters {spec}")

    answer, done = serving.line(), serving.line()

    assert re.fullmatch(r"counter x absent '.*' is not .*", answer)
    assert done == "counters done"


def test_descriptors_of_counters_are_no_leak_of_the_case(serving: Serving) -> None:
    serving.send("counters switches=sw:3 any=irq:CPU")
    serving.until("counters done")

    assert serving.block("run 1 0 self_pass")[-2] == "# outcome pass"
    assert serving.block("run 2 0 self_leak")[-2] == "# outcome error"


def test_facts_tell_the_machine(serving: Serving, payload: Payload) -> None:
    serving.send("facts")

    facts = dict(line.split(" ", 2)[1:] for line in serving.until("facts done")[:-1])

    assert facts["kernel"] == os.uname().release
    assert int(facts["cpus"]) >= 1 and int(facts["memory_kib"]) > 0


def test_the_binary_lists_what_the_build_says_it_holds(payload: Payload) -> None:
    listed = json.loads(subprocess.check_output([payload.path, "--list", "--json"]))

    shown = [
        {**case, "params": dict(w.split("=", 1) for w in case["params"].split())}
        for case in listed["cases"]
    ]
    assert shown == [
        {
            "name": case.name,
            "suite": case.suite,
            "doc": case.doc,
            "file": case.file,
            "line": case.line,
            "timeout_ms": case.timeout_ms,
            "params": dict(case.params),
            "hash": case.hash,
            "needs": case.needs,
        }
        for case in payload.cases
    ]
    text = subprocess.check_output([payload.path, "--list"], text=True)
    assert all(case.name in text and case.doc in text for case in payload.cases)


def test_cases_are_named_once_and_documented(payload: Payload) -> None:
    names = [case.name for case in payload.cases]

    assert len(names) == len(set(names))
    for case in payload.cases:
        assert case.doc and not case.doc.endswith("."), case.name
        assert case.suite == "selftest" or case.file.startswith(f"{case.suite}/")


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "self_pass", "x"], ["--what"]])
def test_wrong_usage_says_what_there_is(payload: Payload, arguments: list[str]) -> None:
    done = subprocess.run(
        [payload.path, *arguments], stderr=subprocess.PIPE, text=True, check=False
    )

    assert done.returncode == 2
    assert "payload run CASE [key=value]" in done.stderr


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_who_asks_for_help_gets_it(payload: Payload, word: str) -> None:
    done = subprocess.run([payload.path, word], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "payload run CASE [key=value]" in done.stdout
