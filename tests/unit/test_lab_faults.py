"""Faults of virtual boards as words: what can be asked for, and of which board."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.cli.lab import parse_faults
from farm.errors import UsageError
from farm.lab.faults import ARGUMENTS, Fault, Injected, fitting


@pytest.mark.parametrize(
    ("text", "fault", "number"),
    [
        ("none", Fault.NONE, 0),
        ("no-boot", Fault.NO_BOOT, 0),
        ("hang", Fault.HANG, 10),
        ("hang:2.5", Fault.HANG, 2.5),
        ("clock:1999", Fault.CLOCK, 1999),
    ],
)
def test_a_fault_and_its_number(text: str, fault: Fault, number: float) -> None:
    assert Injected.parse(text) == Injected(fault, number)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hung", "no fault 'hung' (did you mean 'hang'?)"),
        ("no-boot:3", "'no-boot' takes no number, found '3'"),
        ("hang:", "expected seconds, 0 to 86400, found ''"),
        ("hang:soon", "found 'soon'"),
        ("hang:-1", "found '-1'"),
        ("hang:1e9", "found '1e9'"),
        ("hang:999999", "found '999999'"),
        ("clock:1900", "expected the year, 1970 to 2100"),
        ("slow:0.5", "expected times slower, 1 to 100"),
    ],
)
def test_what_is_no_fault_says_what_would_be(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Injected.parse(text)
    assert said in str(caught.value)


@given(st.text(max_size=20))
def test_any_text_is_a_fault_or_an_error_in_words(text: str) -> None:
    try:
        injected = Injected.parse(text)
    except UsageError:
        return
    assert Injected.parse(str(injected)) == injected


@given(st.sampled_from(sorted(ARGUMENTS)), st.data())
def test_a_fault_is_read_as_it_is_written(fault: Fault, data: st.DataObject) -> None:
    takes = ARGUMENTS[fault]
    number = data.draw(st.integers(int(takes.least), int(min(takes.most, 99999))))
    injected = Injected(fault, number)
    assert Injected.parse(str(injected)) == injected


def test_a_board_cannot_lose_what_it_never_had() -> None:
    assert fitting("hang", exact=True, firmware=False) == "hang:10"
    with pytest.raises(UsageError, match="'ssh-stall': an exact board has nothing that it breaks"):
        fitting("ssh-stall", exact=True, firmware=False)
    assert fitting("no-kernel-file", exact=False, firmware=True) == "no-kernel-file"
    with pytest.raises(UsageError, match="QEMU itself loads this board's kernel"):
        fitting("no-kernel-file", exact=False, firmware=False)


def test_faults_of_the_command_line() -> None:
    assert parse_faults(["a-1=hang:20", "b-1=none"]) == {"a-1": "hang:20", "b-1": "none"}
    for words in (["a-1"], ["a-1="], ["=hang"], ["a-1=none", "a-1=hang"]):
        with pytest.raises(UsageError, match="--fault"):
            parse_faults(words)
