"""Exact boards' parts: what they are given, how they answer, what need not be asked again."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.board import payload
from farm.board.console import Recogniser
from farm.board.exact import archive as archives
from farm.board.exact.archive import archive
from farm.board.exact.cache import Cache
from farm.board.exact.frames import BEGIN, Answer, is_end, unframe
from farm.board.payload import Payload
from farm.errors import FarmError, ProtocolError, UsageError

LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@pytest.fixture(scope="module")
def program() -> Payload:
    return payload.build("host", only="payload/selftest.c")


def framed(lines: list[str], status: int = 0) -> list[str]:
    escaped = (line.replace("\\", "\\\\") for line in lines)
    bodies = [f"{number} {line}" for number, line in enumerate(escaped)]
    bodies.append(f"end {status} {len(lines)}")
    return [
        f"@farm {tag} {zlib.crc32(body.encode()):08x} {rest}"
        for body in bodies
        for tag, _, rest in (body.partition(" "),)
    ]


@given(lines=st.lists(LINE, max_size=20), status=st.integers(0, 255))
def test_frames_give_back_what_was_framed(lines: list[str], status: int) -> None:
    seen = ["[    1.0] noise", BEGIN]
    for line in framed(lines, status):
        seen += [line, "[    2.0] more noise"]
    assert unframe(seen) == Answer(tuple(lines), status)


@given(lines=st.lists(LINE, min_size=1, max_size=8), data=st.data(), noise=st.text(min_size=1))
def test_a_damaged_stream_is_never_an_answer(
    lines: list[str], data: st.DataObject, noise: str
) -> None:
    seen = framed(lines)
    at = data.draw(st.integers(0, len(seen) - 1))
    cut = data.draw(st.integers(0, len(seen[at]) - 1))
    damaged = seen[at][:cut] + noise + seen[at][cut:]
    if damaged == seen[at]:
        return
    for broken in ([*seen[:at], damaged, *seen[at + 1 :]], [*seen[:at], *seen[at + 1 :]]):
        with pytest.raises(ProtocolError):
            unframe(broken)


@given(st.lists(st.text(), max_size=20))
def test_any_console_is_read_or_refused(lines: list[str]) -> None:
    with pytest.raises(FarmError):
        unframe(lines)


def test_the_payload_frames_lines_as_they_are_read(program: Payload) -> None:
    text = "first\n\n  second with \\x41 and a tab\there\nlast without an end"
    done = subprocess.run(
        [program.path, "frame", "3"], input=text, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert unframe(lines) == Answer(tuple(text.split("\n")), 3)
    assert is_end(lines[-1]) and not any(map(is_end, lines[:-1]))


@given(
    data=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [b"\x1b[31mred\x1b[0m", b"in\rside", b"nul\0cut", b"\xff", b"\\", b"\\x41"]
            ),
            st.tuples(st.binary(min_size=1, max_size=3), st.integers(990, 2010)).map(
                lambda pair: (pair[0] * pair[1])[: pair[1]]
            ),
        ).map(lambda line: line.replace(b"\n", b" ")),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_case_prints_comes_through_a_console(
    program: Payload, data: list[bytes]
) -> None:
    text = b"".join(line + b"\n" for line in data)
    done = subprocess.run([program.path, "frame", "0"], input=text, capture_output=True, check=True)
    lines, events = Recogniser().feed(done.stdout.replace(b"\n", b"\r\n"))
    assert not events
    expected = tuple(line.decode("utf-8", errors="backslashreplace") for line in data)
    assert unframe(lines) == Answer(expected, 0)


def test_a_payload_of_one_file_holds_no_other(program: Payload) -> None:
    assert {case.file for case in program.cases} == {"payload/selftest.c"}
    with pytest.raises(UsageError, match="no file of cases"):
        payload.build("host", only="sync/none.c")


def test_what_a_board_is_given_has_one_size() -> None:
    small, large = archive(b"\x7fELF", "true\n"), archive(bytes(200_000), "true\n", "x" * 5000)
    assert len(small) == len(large) == archives.ARCHIVE_BYTES
    start = small.index(b"\x7fELF")
    assert small[start + 4 : start + archives.PAYLOAD_BYTES] == bytes(archives.PAYLOAD_BYTES - 4)
    with pytest.raises(UsageError, match="room for"):
        archive(bytes(archives.PAYLOAD_BYTES + 1), "true\n")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "farm" / "exact"


def test_an_answer_is_known_while_nothing_it_depends_on_changes(own_cache: Path) -> None:
    cache = Cache({"image_id": "1", "hw_emulator": "qemu-7.2"})
    answer = Answer(("one", "two"), 0)
    cache.put(b"archive", answer)

    kept = cache.get(b"archive")
    assert kept is not None and kept.answer == answer and kept.made.endswith("+00:00")
    assert cache.get(b"another archive") is None
    assert Cache({"image_id": "2", "hw_emulator": "qemu-7.2"}).get(b"archive") is None
    assert Cache({"image_id": "1", "hw_emulator": "qemu-8.0"}).get(b"archive") is None
    assert (
        Cache({"image_id": "1", "hw_emulator": "qemu-7.2"}, enabled=False).get(b"archive") is None
    )


def test_a_place_without_an_image_id_keeps_nothing(own_cache: Path) -> None:
    Cache({}).put(b"archive", Answer((), 0))
    assert Cache({}).get(b"archive") is None
    assert not own_cache.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"lines": 1, "status": 0, "made": ""}', b"\xff",
                b'{"lines": [1], "status": 0, "made": ""}',
                b'{"lines": [], "status": "0", "made": ""}'],
)  # fmt: skip
def test_a_damaged_file_of_the_cache_is_measured_again(own_cache: Path, content: bytes) -> None:
    cache = Cache({"image_id": "1"})
    cache.put(b"archive", Answer((), 0))
    (file,) = own_cache.glob("*/*.json")
    file.write_bytes(content)
    assert cache.get(b"archive") is None
