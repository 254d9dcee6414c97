"""KTAP blocks: what is whole passes, what is cut or garbled never does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.board import ktap
from farm.board.ktap import BlockParser, parse_block
from farm.board.lines import LineSplitter
from farm.errors import ProtocolError

BLOCK = b"""\
KTAP version 1
1..1
# case name=import_twice id=7 hash=0123456789abcdef
# info handle same as before
# info empty
# sample name=wall value=1932.5 unit=ns phase=case seq=0
# sample name=dma_map_sg value=1 unit=count phase=first of=0000:00:02.0 seq=1
# absent counter=pmu_cycles reason=no PMU here
# leak dma_buf_left 1 count left after 2000 ms
# dmesg 4 WARNING: something
ok 1 import_twice
# outcome pass
# end id=7 samples=2
"""


def test_whole_block() -> None:
    block = parse_block(BLOCK, "import_twice", "7")
    assert (block.outcome, block.hash, block.reason) == ("pass", "0123456789abcdef", "")
    assert block.info == {"handle": "same as before", "empty": ""}
    assert [(s.name, s.value, s.phase) for s in block.samples] == [
        ("wall", 1932.5, "case"),
        ("dma_map_sg", 1.0, "first"),
    ]
    assert block.absent == {"pmu_cycles": "no PMU here"}
    assert [one.of for one in block.samples] == ["", "0000:00:02.0"]
    assert block.dmesg == (
        "left behind by the case: dma_buf_left: 1 count left after 2000 ms",
        "WARNING: something",
    )


@pytest.mark.parametrize(
    ("result", "outcome", "expected"),
    [
        (b"not ok 1 c # map count is 3", b"fail", ("fail", "map count is 3")),
        (b"ok 1 c # SKIP no device", b"skip", ("skip", "no device")),
        (b"not ok 1 c # leaked descriptor 5", b"error", ("error", "leaked descriptor 5")),
        (b"not ok 1 c", b"timeout 2000 ms", ("timeout", "2000 ms")),
    ],
)
def test_outcomes(result: bytes, outcome: bytes, expected: tuple[str, str]) -> None:
    text = (
        b"KTAP version 1\n1..1\n# case name=c id=1 hash=0123456789abcdef\n"
        + result
        + b"\n# outcome "
        + outcome
        + b"\n# end id=1 samples=0\n"
    )
    block = parse_block(text, "c", "1")
    assert (block.outcome, block.reason) == expected


def test_kernel_noise_between_lines_is_legal() -> None:
    noisy = BLOCK.replace(b"\n", b"\n[   12.3] usb 1-1: new device\n")
    assert parse_block(noisy, "import_twice", "7") == parse_block(BLOCK, "import_twice", "7")


@pytest.mark.parametrize("line", range(BLOCK.count(b"\n")))
def test_a_line_missing_or_twice_is_never_a_pass(line: int) -> None:
    rows = BLOCK.splitlines(keepends=True)
    harmless = rows[line].startswith((b"# info", b"# absent", b"# leak", b"# dmesg"))
    without = b"".join(rows[:line] + rows[line + 1 :])
    twice = b"".join(rows[: line + 1] + rows[line:])
    for text in (without, twice):
        if harmless:
            assert parse_block(text, "import_twice", "7").outcome == "pass"
        elif text is twice and line == len(rows) - 1:
            continue  # what follows the end belongs to nobody
        else:
            with pytest.raises(ProtocolError):
                parse_block(text, "import_twice", "7")


@given(st.integers(min_value=0, max_value=len(BLOCK) - 1))
def test_cut_short_is_never_a_pass(length: int) -> None:
    with pytest.raises(ProtocolError):
        parse_block(BLOCK[:length], "import_twice", "7")


@given(
    st.integers(min_value=0, max_value=len(BLOCK) - 1),
    st.binary(min_size=1, max_size=30),
    st.integers(min_value=0, max_value=20),
)
def test_garbled_is_the_same_or_an_error(at: int, junk: bytes, removed: int) -> None:
    garbled = BLOCK[:at] + junk + BLOCK[at + removed :]
    try:
        block = parse_block(garbled, "import_twice", "7")
    except ProtocolError:
        return
    assert (block.name, block.id) == ("import_twice", "7")
    assert block.outcome in ktap.OUTCOMES


token = st.sampled_from(
    [
        "KTAP version 1",
        "KTAP version 2",
        "1..1",
        "# case name=c id=1 hash=0123456789abcdef",
        "# info a b",
        "# sample name=a value=1 unit=ns phase=p seq=0",
        "# sample name=a value=1e999 unit=ns phase=p seq=0",
        "# sample name=a value=nan unit=ns phase=p seq=0",
        "# sample name=a value=1 unit=ns phase=p of= seq=0",
        "# sample name=a value=1 unit=ns phase=p seq=1",
        "# leak a 1",
        "# leak",
        "ok 1 c",
        "not ok 1 c",
        "ok 1 d",
        "# outcome pass",
        "# outcome great",
        "# end id=1 samples=0",
        "# end id=1 samples=1",
        "noise",
    ]
)


@given(st.lists(st.one_of(token, st.text(max_size=40)), max_size=14))
def test_parser_raises_only_its_own_error(lines: list[str]) -> None:
    parser = BlockParser("c", "1")
    try:
        for line in lines:
            block = parser.feed(line)
            if block is not None:
                assert lines.count("KTAP version 1") and "1..1" in lines
                return
    except ProtocolError:
        return
    assert parser.missing


def test_wrong_case_or_id_is_an_error() -> None:
    for case, run_id in (("other", "7"), ("import_twice", "8")):
        with pytest.raises(ProtocolError, match="expected case"):
            parse_block(BLOCK, case, run_id)


def test_outcome_that_contradicts_the_result_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="agrees"):
        parse_block(BLOCK.replace(b"outcome pass", b"outcome fail"), "import_twice", "7")


def test_endless_noise_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ktap, "MAX_BLOCK", 10_000)
    parser = BlockParser("c", "1")
    with pytest.raises(ProtocolError, match="more than 10000 bytes"):
        for _ in range(1000):
            parser.feed("x" * 100)


def test_endless_line_is_cut_off() -> None:
    splitter = LineSplitter(limit=100)
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        for _ in range(30):
            splitter.feed(b"y" * 10)


@given(st.binary(max_size=300), st.lists(st.integers(min_value=0, max_value=300), max_size=8))
def test_any_chunking_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    whole, pieces = LineSplitter(), LineSplitter()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    seen = [line for a, b in itertools.pairwise(edges) for line in pieces.feed(data[a:b])]
    assert seen == whole.feed(data)
    assert pieces.partial == whole.partial
