"""Telnet's commands in what is typed on a serial port: in any pieces, and next to any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.lab.telnet import MAX_SUBNEGOTIATION, Telnet

SPEED = b"\xff\xfa\x2c\x01\x00\x01\xc2\x00\xff\xf0"  # IAC SB COM-PORT-OPTION SET-BAUDRATE … IAC SE
COMMANDS = st.sampled_from([b"\xff\xfb\x2c", b"\xff\xfd\x00", b"\xff\xfe\xff", b"\xff\xf1", SPEED])
TEXT = st.binary(max_size=12)


def typed(telnet: Telnet, data: bytes, sizes: list[int]) -> bytes:
    found, at = b"", 0
    for size in [*sizes, len(data)]:
        found += telnet.input(data[at : at + size])
        at += size
    return found


@given(st.lists(st.tuples(TEXT, COMMANDS)), st.lists(st.integers(min_value=1, max_value=9)))
def test_commands_are_taken_out_and_text_stays(
    parts: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    sent = b"".join(text.replace(b"\xff", b"\xff\xff") + command for text, command in parts)
    telnet = Telnet()
    assert typed(telnet, sent, sizes) == b"".join(text for text, _ in parts)
    assert telnet.spoken == bool(parts)


@given(st.binary().filter(lambda data: b"\xff" not in data), st.lists(st.integers(1, 9)))
def test_who_talks_no_telnet_is_not_disturbed(data: bytes, sizes: list[int]) -> None:
    telnet = Telnet()
    assert typed(telnet, data, sizes) == data
    assert telnet.output(b"\xff") == b"\xff"


@given(st.lists(st.binary(max_size=9)))
def test_no_bytes_break_it_or_make_it_deaf(pieces: list[bytes]) -> None:
    telnet = Telnet()
    assert sum(len(telnet.input(piece)) for piece in pieces) <= sum(map(len, pieces))
    telnet.input(b" " * (MAX_SUBNEGOTIATION + 2))
    assert telnet.input(b"ls\n") == b"ls\n"


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [(b"a\xffz", b"a\xffz"), (b"\xff\xffz", b"\xffz"), (b"\xff\xfa\x01\xff\xff\xff\xf0z", b"z")],
)
def test_an_iac_that_is_none(sent: bytes, wanted: bytes) -> None:
    assert Telnet().input(sent) == wanted


def test_a_telnet_client_gets_its_bytes_doubled() -> None:
    telnet = Telnet()
    telnet.input(b"\xff\xfb\x2c")
    assert telnet.output(b"a\xffb") == b"a\xff\xffb"
