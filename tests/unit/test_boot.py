"""Waiting for a board to answer, with an eye on its console."""

from __future__ import annotations

import pytest
from scripted_board import ScriptedConsole

from farm.board.boot import BootFailed, BootWatch, await_ready

BANNER = "[    0.0] Booting Linux on physical CPU 0x0"


class Booting:
    """A board that answers at the n-th probe; each probe takes its whole time limit."""

    def __init__(self, answers_at: int, says: dict[int, str] | None = None) -> None:
        self.console = ScriptedConsole()
        self.now = 0.0
        self.probes = 0
        self._answers_at = answers_at
        self._says = says or {}

    def probe(self, timeout: float) -> bool:
        self.probes += 1
        self.now += timeout
        if self.probes in self._says:
            self.console.say(self._says[self.probes])
        return self.probes >= self._answers_at

    def wait(self, limit_s: float = 60.0, *, announced: bool = False) -> None:
        watch = BootWatch(self.console, 0)
        await_ready(watch, self.probe, limit_s, announced=announced, clock=lambda: self.now)


def test_a_board_that_answers() -> None:
    board = Booting(3, {1: BANNER})
    board.wait()
    assert board.probes == 3


def test_a_board_that_says_when_it_is_ready_is_given_time_to_answer() -> None:
    board = Booting(1)
    board.console.say(BANNER, "farm: ready 3.10 s after power-on")
    board.wait(announced=True)
    assert (board.probes, board.now) == (1, 5.0)


def test_a_board_whose_word_was_garbled_is_tried_all_the_same() -> None:
    board = Booting(3)
    board.console.say(BANNER, "\x07farm: ready 3.10 s after power-on")
    board.wait(announced=True)
    assert board.probes == 3


def test_a_board_that_dies_before_it_is_ready() -> None:
    board = Booting(10**9)
    board.console.say(BANNER, "[    1.0] Kernel panic - not syncing: VFS")
    with pytest.raises(BootFailed, match=r"died while it booted: .*VFS"):
        board.wait(announced=True)
    assert board.probes == 0


def test_a_silent_board() -> None:
    board = Booting(10**9)
    with pytest.raises(BootFailed, match=r"no SSH within 60 s .* the console is silent"):
        board.wait()
    assert board.now == pytest.approx(60)


def test_a_board_that_stops_half_way() -> None:
    board = Booting(10**9, {1: BANNER, 2: "[    1.0] Waiting for root device"})
    with pytest.raises(BootFailed, match=r"last lines: .*Waiting for root device") as caught:
        board.wait()
    assert caught.value.excerpt == (BANNER, "[    1.0] Waiting for root device")


def test_a_panic_ends_the_wait_at_once() -> None:
    board = Booting(10**9, {2: "[    1.0] Kernel panic - not syncing: VFS"})
    with pytest.raises(BootFailed, match=r"died while it booted: .*VFS"):
        board.wait()
    assert board.probes == 2


def test_a_boot_loop_ends_the_wait() -> None:
    board = Booting(10**9, {1: BANNER, 4: BANNER, 7: BANNER})
    with pytest.raises(BootFailed, match="in circles: the kernel started 3 times"):
        board.wait()
    assert board.probes == 7


@pytest.mark.parametrize("starts", [2, 3, 5])
def test_a_wait_for_the_boards_word_ends_at_the_third_start(starts: int) -> None:
    board = Booting(10**9)
    board.console.say(*[BANNER] * starts)
    watch = BootWatch(board.console, 0)
    assert watch.wait_ready(0.0) == (starts >= 3)
    if starts >= 3:
        with pytest.raises(BootFailed, match="the kernel started 3 times"):
            watch.check()


LOADER = "U-Boot 2025.01 (Jan 01 2025 - 00:00:00 +0000)"
FIRST_STAGE = "U-Boot SPL 2025.01 (Jan 01 2025 - 00:00:00 +0000)"


def test_one_boot_is_no_loop_however_many_stages_it_has() -> None:
    board = Booting(3, {1: FIRST_STAGE, 2: LOADER, 3: BANNER})
    board.wait()


@pytest.mark.parametrize(
    ("banner", "what"), [(LOADER, "U-Boot"), (FIRST_STAGE, "U-Boot's first stage")]
)
def test_a_loader_that_starts_again_and_again_ends_the_wait(banner: str, what: str) -> None:
    board = Booting(10**9, {1: banner, 2: banner, 4: banner})
    with pytest.raises(BootFailed, match=f"in circles: {what} started 3 times; .*U-Boot"):
        board.wait()


def test_a_loader_that_comes_back_is_told_even_by_a_board_that_answers() -> None:
    """What answers then is whatever the loader booted by itself."""
    board = Booting(2, {2: LOADER})
    board.console.say(LOADER, "Starting kernel ...")
    watch = BootWatch(board.console, 0)
    watch.expect_no_reset("the start")
    board.console.say("[    0.1] its last words")
    with pytest.raises(BootFailed, match=r"reset itself after the start; .* words \| U-Boot 2025"):
        await_ready(watch, board.probe, 60, clock=lambda: board.now)


def test_the_last_lines_are_few_and_short() -> None:
    board = Booting(10**9, {1: "x" * 1000})
    with pytest.raises(BootFailed) as caught:
        board.wait()
    assert len(str(caught.value)) < 300


def test_complaints_before_power_on_do_not_count() -> None:
    board = Booting(1)
    board.console.say("[  999.0] Kernel panic - not syncing: yesterday")
    watch = BootWatch(board.console, board.console.mark())
    await_ready(watch, board.probe, 60, clock=lambda: board.now)
