"""Sessions on exact boards, over a scripted one: this machine answers in the board's place.

It takes the archive apart, runs the command in it with the payload that was built for this machine,
and writes the console that a board would.
"""

from __future__ import annotations

import queue
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.board import payload
from farm.board.boot import BootFailed
from farm.board.complaints import Ledger
from farm.board.exact.cache import Cache
from farm.board.exact.frames import BEGIN
from farm.board.exact.session import ExactSession
from farm.board.recorder import ConsoleRecorder
from farm.board.result import BoardHung, CaseComplaint, CommandFailed
from farm.counters.registry import Counter
from farm.errors import ProtocolError, UsageError
from farm.inventory import Limits
from farm.model import Better, Metric

BANNER = "[    0.000000] Booting Linux on physical CPU 0x0000000000"
PANIC = "[    9.000000] Kernel panic - not syncing: Fatal exception"
WARNING = "[    8.000000] WARNING: CPU: 0 PID: 1 at drivers/dma-buf/dma-buf.c:1 f+0x0/0x10"
COUNTERS = (
    Counter(Metric("faults", "count", Better.LOWER, "x"), ("tp:no:such", "sw:2")),
    Counter(Metric("never", "count", Better.LOWER, "x"), ("tp:no:other",)),
    Counter(Metric("wall", "ns", Better.LOWER, "clock")),
)


class WrittenPort:
    """A serial port that says what is put into it."""

    def __init__(self) -> None:
        self.data: queue.Queue[bytes] = queue.Queue()

    def read(self) -> bytes:
        try:
            return self.data.get(timeout=0.05)
        except queue.Empty:
            return b""

    def write(self, data: bytes) -> None:
        raise AssertionError("nobody types on an exact board")

    def close(self) -> None:
        pass


def unpacked(archive: bytes) -> dict[str, bytes]:
    """Return the files of a cpio archive."""
    found = {}
    at = 0
    while True:
        header = archive[at : at + 110]
        assert header[:6] == b"070701"
        size, named = int(header[54:62], 16), int(header[94:102], 16)
        name = archive[at + 110 : at + 110 + named - 1].decode()
        start = at + (110 + named + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = archive[start : start + size]
        at = start + (size + 3) // 4 * 4


Console = Callable[[list[str]], list[str]]


class ScriptedRig:
    """An exact board; ``alters`` changes what it writes once its command runs."""

    def __init__(self, folder: Path) -> None:
        self.port = WrittenPort()
        self.console = ConsoleRecorder(lambda: self.port, folder / "console")
        self.archives: list[bytes] = []
        self.before: list[str] = [BANNER]
        self.alters: Console = list
        self._folder = folder
        self._program = payload.build("host", only="payload/selftest.c").path

    def boot_with(self, archive: bytes) -> int:
        self.archives.append(archive)
        mark = self.console.mark()
        self._say(self.before)
        if self.before[-1] == BANNER:
            self._say([BEGIN, *self.alters(self._answer(unpacked(archive)))])
        return mark

    def _answer(self, files: dict[str, bytes]) -> list[str]:
        given = self._folder / "input"
        given.write_bytes(files["farm/input"])
        command = files["farm/command"].decode()
        command = command.replace("/farm/payload", str(self._program))
        command = command.replace("/farm/input", str(given))
        ran = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
        said = ran.stdout + (ran.stderr if ran.returncode else b"")
        framed = subprocess.run(
            [self._program, "frame", str(ran.returncode)], input=said, stdout=-1, check=True
        )
        return framed.stdout.decode().splitlines()

    def _say(self, lines: list[str]) -> None:
        self.port.data.put("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedRig]:
    made = ScriptedRig(tmp_path)
    made.console.start()
    yield made
    made.console.stop()


@pytest.fixture
def session(rig: ScriptedRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExactSession:
    monkeypatch.setattr("farm.board.exact.cache.paths.answers_dir", lambda: tmp_path / "cache")
    return ExactSession(
        rig=rig,
        cache=Cache({"image_id": "1"}),
        console=rig.console,
        ledger=Ledger(rig.console),
        payload=payload.build(),
        limits=Limits(boot_s=5.0, command_s=5.0, case_s=0.1, reboots=3),
        counters=COUNTERS,
    )


@pytest.fixture
def ready(session: ExactSession) -> ExactSession:
    session.open()
    return session


def test_the_first_look_finds_counters_facts_and_topology(ready: ExactSession) -> None:
    assert list(ready.absent) == ["never"] and "no such" not in ready.absent["never"]
    assert int(ready.facts["cpus"]) >= 1
    assert ready.kernel and ready.topology["board"]["kernel"]


def test_a_case_has_a_boot_and_a_payload_of_its_own_file(
    ready: ExactSession, rig: ScriptedRig
) -> None:
    result = ready.run("self_pass", {"word": "two words", "must": "x"})
    assert (result.outcome, result.info["word"]) == ("pass", "two words")
    assert result.counter("faults") >= 0 and not result.cached
    own = payload.build(only="payload/selftest.c").path.read_bytes()
    assert unpacked(rig.archives[-1])["farm/payload"].rstrip(b"\0") == own.rstrip(b"\0")


def test_what_has_been_measured_is_not_measured_again(
    ready: ExactSession, rig: ScriptedRig
) -> None:
    first = ready.run("self_pass", {"must": "x"})
    boots = len(rig.archives)
    again = ready.run("self_pass", {"must": "x"})
    assert len(rig.archives) == boots and again.cached
    assert again.samples == first.samples
    ready.run("self_pass", {"must": "y"})
    assert len(rig.archives) == boots + 1


def test_a_case_that_fails_says_why(ready: ExactSession) -> None:
    result = ready.run("self_fail", {})
    assert result.outcome == "fail" and "saw 2" in result.reason


def test_the_kernels_own_words_may_stand_between_the_lines(
    ready: ExactSession, rig: ScriptedRig
) -> None:
    rig.alters = lambda lines: [line for one in lines for line in (one, "[ 1.0] usb: noise")]
    assert ready.run("self_pass", {"must": "x"}).outcome == "pass"


@pytest.mark.parametrize(
    "alter",
    [
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], lines[2][:20] + "[ 9.0] split" + lines[2][20:], *lines[3:]],
        lambda lines: [*lines[:3], *lines[4:]],
    ],
    ids=["first line lost", "line split", "line lost"],
)
def test_a_garbled_answer_is_no_result(
    ready: ExactSession, rig: ScriptedRig, alter: Console
) -> None:
    rig.alters = alter
    with pytest.raises(ProtocolError):
        ready.run("self_pass", {"must": "x"})
    rig.alters = list
    assert not ready.run("self_pass", {"must": "x"}).cached


def test_a_kernel_that_dies_is_the_cases_failure(ready: ExactSession, rig: ScriptedRig) -> None:
    rig.alters = lambda lines: ["before", PANIC, "trace"]
    with pytest.raises(CaseComplaint, match="the kernel died") as caught:
        ready.run("self_pass", {"must": "x"})
    assert caught.value.fatal and "trace" in caught.value.excerpt


def test_a_complaint_fails_a_case_and_is_never_kept(ready: ExactSession, rig: ScriptedRig) -> None:
    rig.alters = lambda lines: [WARNING, *lines]
    for _ in range(2):
        boots = len(rig.archives)
        with pytest.raises(CaseComplaint, match="WARNING"):
            ready.run("self_pass", {"must": "x"})
        assert len(rig.archives) == boots + 1


def test_a_board_that_resets_itself_is_the_cases_failure(
    ready: ExactSession, rig: ScriptedRig
) -> None:
    rig.alters = lambda lines: [BANNER]
    with pytest.raises(CaseComplaint, match="the board reset itself"):
        ready.run("self_pass", {"must": "x"})


def test_silence_is_the_boards(ready: ExactSession, rig: ScriptedRig) -> None:
    rig.alters = lambda lines: lines[:-1]
    with pytest.raises(BoardHung, match="no end within"):
        ready.run("self_pass", {"must": "x"}, timeout_s=0.1)
    assert ready.failures == 1


@pytest.mark.parametrize(
    ("said", "expected", "boot_s"),
    [([PANIC], "died while it booted", 20.0), (["stuck"], "no sign of the payload", 0.5)],
)
def test_a_boot_that_fails_says_what_the_console_said(
    session: ExactSession, rig: ScriptedRig, said: list[str], expected: str, boot_s: float
) -> None:
    session.limits = Limits(boot_s=boot_s, command_s=5.0, case_s=0.1, reboots=3)
    rig.before = [BANNER, *said]
    with pytest.raises(BootFailed, match=expected) as caught:
        session.open()
    assert said[0] in caught.value.excerpt
    assert session.failures == session.boots == 2


def test_a_command_has_a_boot_of_its_own(ready: ExactSession) -> None:
    assert ready.command("echo one; echo two") == "one\ntwo\n"
    assert ready.command("true") == ""
    with pytest.raises(CommandFailed, match="status 3: no good"):
        ready.command("echo no good >&2; exit 3")


def test_a_case_that_nobody_wrote_is_refused(ready: ExactSession) -> None:
    with pytest.raises(UsageError, match="no case 'nobody'"):
        ready.run("nobody", {})


def test_cases_that_need_two_cpus_lack_one(ready: ExactSession) -> None:
    ready.facts["cpus"] = "1"
    assert ready.lacks("self_two_cpus") == "two CPUs, and it has one"
    assert ready.lacks("self_pass") == ""
    ready.facts["cpus"] = "2"
    assert ready.lacks("self_two_cpus") == ""
