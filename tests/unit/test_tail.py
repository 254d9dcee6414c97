"""Reading a file that grows."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from farm.run.tail import Tail, last_lines


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_however_it_grows_each_whole_line_comes_once(
    tmp_path_factory: object, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "log"  # type: ignore[attr-defined]
    tail = Tail(path)
    assert list(tail.lines()) == []
    found: list[bytes] = []
    for piece in pieces:
        with path.open("ab") as stream:
            stream.write(piece)
        found += tail.lines()
    whole = b"".join(pieces)
    assert b"".join(found) == whole[: whole.rfind(b"\n") + 1]
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in found)


def test_the_last_lines_are_found_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    assert last_lines(path, 1) == []
    path.write_bytes(b"x" * 100_000 + b"\n\nbefore\nlast \xff\n \n")
    assert last_lines(path, 2) == ["before", "last \ufffd"]
    assert last_lines(path, 0) == []
