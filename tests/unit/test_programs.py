"""Programs on a board that may fail, print at length or never end; bundles that bring them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_board import ScriptedConsole, ScriptedPayload, small_payload

from farm.board import session
from farm.board.channel import PayloadChannel
from farm.board.complaints import Ledger
from farm.board.result import BoardHung
from farm.board.session import BoardSession
from farm.board.ssh import MAX_OUTPUT, CommandOutput
from farm.errors import BoardError, ImageError, LinkLost
from farm.image import bundles
from farm.inventory import Limits
from farm.model import ImageProvenance


class LocalLink:
    """Runs a board's commands here, with a file in place of the kernel's log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "kmsg"
        self.log.write_text("[    0.100000] WARNING: CPU: 0 PID: 1 at a.c:1 old()\n")
        self.puts = 0
        self.error: BoardError | None = None
        self.payload = ScriptedPayload({})

    def run(
        self, command: str, *, timeout: float, stdin: Iterator[bytes] | None = None
    ) -> CommandOutput:
        if self.error is not None and command.startswith("timeout"):
            raise self.error
        here = command.replace("> /dev/kmsg", f">> {self.log}")
        here = f"cat {self.log}" if command == "dmesg" else here
        done = subprocess.run(["sh", "-c", here], capture_output=True, check=False, timeout=60)
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return CommandOutput(done.stdout[:MAX_OUTPUT], done.stderr[:MAX_OUTPUT], status)

    def put(self, source: Path, destination: str, *, timeout: float, mode: int = 0o644) -> None:
        self.puts += 1
        shutil.copyfile(source, destination)

    def open_channel(self, argv: object) -> ScriptedPayload:
        return self.payload


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLink:
    monkeypatch.setattr(session, "FOLDER", str(tmp_path))
    return LocalLink(tmp_path)


@pytest.fixture
def board(link: LocalLink, tmp_path: Path) -> BoardSession:
    console = ScriptedConsole()
    return BoardSession(
        link=link,  # type: ignore[arg-type]
        console=console,
        ledger=Ledger(console),
        payload=small_payload(tmp_path),
        limits=Limits(boot_s=90, command_s=30, case_s=1, reboots=3),
        counters=(),
        alive=True,
        _channel=PayloadChannel(link.payload),
    )


def test_output_and_status_come_back_as_they_are(board: BoardSession) -> None:
    done = board.program("echo out; echo err >&2; exit 98", timeout_s=30)
    assert (done.stdout, done.stderr, done.status) == ("out\n", "err\n", 98)
    assert (done.stopped_s, done.truncated, done.complaint) == (0.0, False, None)


def test_a_program_that_never_ends_is_stopped(board: BoardSession) -> None:
    done = board.program("echo begun; exec sleep 600", timeout_s=3)
    assert (done.stdout, done.stopped_s) == ("begun\n", 3.0)
    assert board.program("kill -9 $$", timeout_s=30).stopped_s == 0.0


def test_output_beyond_what_is_kept_is_told_so(board: BoardSession) -> None:
    assert board.program("yes | head -c 6000000", timeout_s=60).truncated


def test_the_kernels_log_since_the_programs_start_counts(
    board: BoardSession, link: LocalLink
) -> None:
    line = "[   12.345678] [  T42] WARNING: CPU: 1 PID: 7 at drivers/dma-buf/dma-buf.c:9 f()"
    done = board.program(f"echo '{line}' >> {link.log}", timeout_s=30)
    assert done.complaint is not None and "dma-buf.c:9" in str(done.complaint)
    assert not done.complaint.left
    board.ledger.forgive(())
    assert [entry.excused for entry in board.ledger.hand_over()] == [False]
    assert "old()" not in str(done.complaint) and not done.complaint.fatal and board.alive
    assert board.program("true", timeout_s=30).complaint is None


def test_what_a_program_leaves_behind_is_a_complaint(board: BoardSession, link: LocalLink) -> None:
    link.payload.leaks = ["dma_buf_left 1 count left after 2000 ms; there now: udmabuf of 1 bytes"]
    done = board.program("echo out", timeout_s=30)
    assert done.stdout == "out\n" and board.alive
    assert done.complaint is not None and "udmabuf of 1 bytes" in str(done.complaint)
    assert [event.pattern for event in done.complaint.events] == ["leak"]
    board.ledger.forgive(done.complaint.events)
    assert [entry.excused for entry in board.ledger.hand_over()] == [True]
    (left,) = done.complaint.left.items()
    assert left == ("dma_buf_left", "1 count left after 2000 ms; there now: udmabuf of 1 bytes")
    assert link.payload.commands == ["evidence begin", "evidence end"]


def test_a_kernel_that_dies_ends_the_session(board: BoardSession, link: LocalLink) -> None:
    line = "[    9.0] Kernel panic - not syncing: Fatal exception"
    done = board.program(f"echo '{line}' >> {link.log}", timeout_s=30)
    assert done.complaint is not None and done.complaint.fatal and not board.alive


@pytest.mark.parametrize(
    ("error", "seen"),
    [(LinkLost("closed"), LinkLost), (BoardError("did not end within 20 s"), BoardHung)],
)
def test_a_board_that_is_lost_is_not_trusted_any_more(
    board: BoardSession, link: LocalLink, error: BoardError, seen: type[Exception]
) -> None:
    link.error = error
    with pytest.raises(seen, match="program 'true'"):
        board.program("true", timeout_s=1)
    assert not board.alive


# --- bundles --------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bundles.Bundle:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return bundles.obtain("tools", {"v": 1}, fill)


def fill(work: Path) -> list[ImageProvenance]:
    (work / "bin").mkdir()
    (work / "bin" / "hello").write_text("#!/bin/sh\necho hello $1\n")
    return [ImageProvenance("hello", "1.0", "all", "0" * 64)]


def test_a_bundle_is_made_once(bundle: bundles.Bundle) -> None:
    def never(work: Path) -> list[ImageProvenance]:
        raise AssertionError("it is in the cache")

    assert bundles.obtain("tools", {"v": 1}, never) == bundle
    assert bundle.sha256 == hashlib.sha256(bundle.archive.read_bytes()).hexdigest()
    assert bundle.made_of[0].package == "hello" and not bundle.loader
    assert bundles.obtain("tools", {"v": 2}, fill).sha256 == bundle.sha256
    bundle.archive.unlink()
    assert bundles.obtain("tools", {"v": 1}, fill) == bundle


def test_a_bundle_is_unpacked_once_and_runs(
    bundle: bundles.Bundle, board: BoardSession, link: LocalLink
) -> None:
    folder = board.install(bundle.archive, bundle.sha256)
    assert board.install(bundle.archive, bundle.sha256) == folder and link.puts == 1
    words = " ".join(bundle.command("hello", ["you"]))
    assert board.program(f"cd {folder} && {words}", timeout_s=30).stdout == "hello you\n"
    assert not list(link.folder.glob("*.tar.gz"))


def test_a_board_that_cannot_unpack_says_why(board: BoardSession, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"no archive")
    with pytest.raises(BoardError, match="ended with status"):
        board.install(rubbish, "f" * 64)


def test_a_dynamic_program_runs_through_the_loader_that_came_with_it(
    bundle: bundles.Bundle,
) -> None:
    words = bundles.Bundle(**{**{n: getattr(bundle, n) for n in bundle.__slots__}, "loader": True})
    assert words.command("hello", ["-x"]) == [
        "env", "_STDBUF_O=L", "./lib/ld-linux-aarch64.so.1", "--preload", "./lib/libstdbuf.so",
        "--library-path", "lib", "./bin/hello", "-x",
    ]  # fmt: skip


def test_a_program_of_x86_64_runs_through_the_emulator_that_came_with_it(
    bundle: bundles.Bundle,
) -> None:
    kept = {name: getattr(bundle, name) for name in bundle.__slots__}
    kept |= {"loader": True, "programs": ("box64", "hello")}
    words = bundles.Bundle(**kept)
    start = [
        "./lib/ld-linux-aarch64.so.1", "--preload", "./lib/libstdbuf.so", "--library-path", "lib",
    ]  # fmt: skip
    assert words.command("hello", ["-x"]) == [
        "env", "_STDBUF_O=L", "BOX64_LD_LIBRARY_PATH=x86", "BOX64_LOG=0", "BOX64_NOBANNER=1",
        *start, "./bin/box64", "./bin/hello", "-x",
    ]  # fmt: skip
    assert words.command("box64") == ["env", "_STDBUF_O=L", *start, "./bin/box64"]


def test_a_bundle_that_cannot_be_made_leaves_nothing(bundle: bundles.Bundle) -> None:
    def breaks(work: Path) -> list[ImageProvenance]:
        (work / "bin").mkdir()
        (work / "bin" / "-rf *").touch()
        return []

    with pytest.raises(ImageError, match="takes no file named"):
        bundles.obtain("broken", {}, breaks)
    assert [path.name for path in bundles.bundles_dir().glob("*/")] == [bundle.id]
