"""The payload's channel: the same tests over a scripted board and over the real payload."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from scripted_board import (
    ProcessTransport,
    ScriptedMemory,
    ScriptedPayload,
    block,
    passes,
    silent,
)

from farm.board.channel import PayloadChannel, Silence, Transport
from farm.board.ktap import MAX_BLOCK
from farm.board.payload import build
from farm.errors import BoardError, LinkLost, ProtocolError, UsageError

SCRIPT = {
    "self_pass": passes,
    "self_fail": lambda payload, run_id, case: block(case, run_id, " # because", "fail"),
    "self_skip": lambda payload, run_id, case: block(case, run_id, " # SKIP nothing here", "skip"),
    "self_crash": lambda payload, run_id, case: block(case, run_id, " # SIGSEGV", "error"),
    "self_leak": lambda payload, run_id, case: block(case, run_id, " # leaked 5", "error"),
    "self_hang": lambda payload, run_id, case: block(case, run_id, "", "timeout"),
    "self_rubbish": lambda payload, run_id, case: "[  1.0] noise\n" + block(case, run_id),
}


@pytest.fixture(params=["scripted", "a byte at a time", "process"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport
    if request.param == "process":
        made = ProcessTransport([str(build("host").path), "serve"])
    else:
        piece = 1 if "byte" in request.param else 65536
        made = ScriptedPayload(SCRIPT, piece=piece, memory=ScriptedMemory())
    yield made
    made.close()


@pytest.fixture
def channel(transport: Transport) -> PayloadChannel:
    opened = PayloadChannel(transport)
    opened.start(60)
    return opened


def run(channel: PayloadChannel, case: str, **params: str) -> tuple[str, str]:
    limit_ms = 500 if case == "self_hang" else 60_000
    result = channel.run(case, params, timeout_ms=limit_ms, grace=30)
    return result.outcome, result.reason


def test_greeting_tells_the_build(channel: PayloadChannel) -> None:
    assert channel.build


def test_ping(channel: PayloadChannel) -> None:
    channel.ping(10)
    channel.ping(10)


def test_facts(channel: PayloadChannel) -> None:
    assert "machine" in channel.facts(10)


def test_no_two_ask_in_the_same_jiffy(channel: PayloadChannel) -> None:
    try:
        first = channel.jiffies(10)
    except BoardError as error:
        assert "/proc/timer_list" in str(error), "this machine lets no one see it"
        return
    assert first < channel.jiffies(10) < channel.jiffies(10)


def test_a_payload_that_tells_no_jiffies_is_silent() -> None:
    payload = ScriptedPayload({})
    channel = PayloadChannel(payload, clock=payload.clock)
    channel.start(10)
    with pytest.raises(Silence, match="answer to 'jiffies'"):
        channel.jiffies(10)


def test_evidence_around_what_is_no_case(channel: PayloadChannel) -> None:
    channel.counters([], 10)
    for _ in range(2):
        channel.evidence_begin(10)
        assert channel.evidence_end(10) == []


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("self_pass", "pass"),
        ("self_fail", "fail"),
        ("self_skip", "skip"),
        ("self_crash", "error"),
        ("self_leak", "error"),
        ("self_hang", "timeout"),
    ],
)
def test_outcome_of_a_case(channel: PayloadChannel, case: str, outcome: str) -> None:
    assert run(channel, case, **({"must": "x y=ä%"} if case == "self_pass" else {}))[0] == outcome
    assert run(channel, "self_pass", must="again")[0] == "pass"


def test_a_case_cannot_speak_for_the_harness(channel: PayloadChannel) -> None:
    assert run(channel, "self_rubbish")[0] == "pass"


def test_counters_answer_each_or_say_why_not(channel: PayloadChannel) -> None:
    answers = channel.counters(["faults=sw:2", "never=irq:no-such-line-anywhere"], 10)
    assert set(answers) == {"faults", "never"}


def test_names_are_never_spliced_into_commands(channel: PayloadChannel) -> None:
    for case, params in (("self_pass\nquit", {}), ("self_pass", {"a b": "1"}), ("", {})):
        with pytest.raises(UsageError):
            channel.run(case, params, timeout_ms=100, grace=1)
    channel.ping(10)


def test_unknown_case_is_refused(channel: PayloadChannel) -> None:
    outcome, reason = run(channel, "no_such_case")
    assert outcome == "error" and "no such case" in reason


def test_the_end_of_the_payload_is_a_lost_link(
    channel: PayloadChannel, transport: Transport
) -> None:
    if isinstance(transport, ProcessTransport):
        transport.process.kill()
        transport.process.wait()
    else:
        transport.close()
    with pytest.raises(LinkLost):
        run(channel, "self_pass", must="x")


@pytest.fixture
def process() -> Iterator[PayloadChannel]:
    transport = ProcessTransport([str(build("host").path), "serve"])
    opened = PayloadChannel(transport)
    opened.start(60)
    yield opened
    transport.close()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("half", "sent 'KTAP version 1', expected '# case'"),
        ("plan", r"sent '1..7', expected '1..1'"),
        ("seq", "sent '# sample name=a value=1 unit=ns phase=p seq=7', expected"),
        ("rubbish", "sent 'ok 1 ok 1', expected 'KTAP version 1'"),
    ],
)
def test_what_a_case_puts_into_the_stream_is_an_error(
    process: PayloadChannel, what: str, said: str
) -> None:
    with pytest.raises(ProtocolError, match=said):
        run(process, "stream_break", what=what)


def test_a_hundred_megabytes_are_cut_off_in_bounded_memory(process: PayloadChannel) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=f"more than {MAX_BLOCK} bytes"):
            process.run(
                "stream_break", {"what": "noise", "mib": "100"}, timeout_ms=60_000, grace=10
            )
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def scripted(answer: Callable[[ScriptedPayload, str, str], str]) -> PayloadChannel:
    payload = ScriptedPayload({"c": answer})
    opened = PayloadChannel(payload, clock=payload.clock)
    opened.start(1)
    return opened


def test_silence_ends_at_the_deadline() -> None:
    with pytest.raises(Silence, match="within 7 s"):
        scripted(silent).run("c", {}, timeout_ms=2000, grace=5)


def test_waiting_looks_elsewhere_meanwhile() -> None:
    looks = []

    def watch() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise LinkLost("the kernel died")

    with pytest.raises(LinkLost, match="the kernel died"):
        scripted(silent).run("c", {}, timeout_ms=60_000, grace=5, watch=watch)


def test_a_block_of_another_run_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="expected case"):
        scripted(lambda payload, run_id, case: block(case, "99")).run(
            "c", {}, timeout_ms=100, grace=1
        )


def test_a_refused_command_is_an_error() -> None:
    channel = scripted(lambda payload, run_id, case: "error a parameter is not key=value\n")
    with pytest.raises(ProtocolError, match="refused: a parameter"):
        channel.run("c", {}, timeout_ms=100, grace=1)


def test_no_greeting_is_an_error() -> None:
    payload = ScriptedPayload({})
    payload.read(0)
    with pytest.raises(LinkLost, match="no greeting"):
        PayloadChannel(payload, clock=payload.clock).start(3)


def test_counters_that_go_unanswered_are_an_error() -> None:
    payload = ScriptedPayload({})
    payload._answer = lambda words: "counter other ok\ncounters done\n"  # type: ignore[method-assign]
    channel = PayloadChannel(payload, clock=payload.clock)
    channel.start(1)
    with pytest.raises(ProtocolError):
        channel.counters(["mine=sw:1"], 1)
