"""Lost memory: read as kmemleak tells it, and blamed on whoever had begun when it was allocated."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_board import ScriptedConsole

from farm.board.complaints import Ledger
from farm.board.kmemleak import MAX_OBJECTS, LostObject, MemoryLeaks, parse
from farm.errors import BoardError

TOLD = """\
unreferenced object 0xffff00000c5b4a00 (size 256):
  comm "payload-01234567", pid 301, jiffies 4294942406
  hex dump (first 32 bytes):
    5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
    5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZZZZZZZZZ
  backtrace (crc c9ff5b56):
    kmemleak_alloc+0x34/0x40
    __kmalloc_noprof+0x2b4/0x3a0
    refdev_lose+0xa4/0x110 [refdev]
    param_attr_store+0xa0/0x110
    module_attr_store+0x3c/0x58
    sysfs_kf_write+0xf4/0x130
unreferenced object 0xffff00000c5b4b00 (size 64):
  comm "softirq", pid 0, jiffies 4294942500 (age 12.000s)
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace:
    [<00000000c1234567>] slab_post_alloc_hook+0x98/0x360
    [<00000000a1234567>] dma_fence_array_create+0x40/0x120
unreferenced object (percpu) 0xffff00000c5b4c00 (size 8):
  comm "a "quoted" one", pid 7, jiffies 4294942300
  backtrace (crc 0):
"""
"""Linux 6.12's words, 6.1's and those for memory of each CPU (mm/kmemleak.c)."""


class Board:
    """A kernel whose time stands still unless a test moves it."""

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self.now = 4294942000
        self.commands: list[str] = []
        self.told = ""
        self.off = ""
        self.leaks = MemoryLeaks(self.run, self.tick, [re.compile(one) for one in known])

    def run(self, text: str, timeout: float) -> str:
        self.commands.append(text)
        if self.off:
            raise BoardError(self.off)
        told, self.told = self.told, ""
        return told

    def tick(self) -> int:
        self.now += 1
        return self.now

    def lose(self, size: int, caller: str = "refdev_lose") -> None:
        self.told += (
            f"unreferenced object 0x1 (size {size}):\n"
            f'  comm "payload", pid 9, jiffies {self.now}\n  backtrace (crc 0):\n'
            f"    __kmalloc_noprof+0x1/0x2\n    {caller}+0x1/0x2\n"
        )


def test_what_kmemleak_tells_is_read() -> None:
    first, second, third = parse(TOLD)
    assert (first.size, first.comm, first.pid, first.jiffies) == (
        *(256, "payload-01234567", 301), 4294942406,
    )  # fmt: skip
    assert first.callers[:2] == ("refdev_lose", "param_attr_store")
    assert first.lines[0].startswith("unreferenced object") and len(first.lines) == 12
    assert second.callers == ("dma_fence_array_create",) and second.pid == 0
    assert third.comm == 'a "quoted" one' and third.callers == ()
    assert str(first) == (
        "256 bytes by payload-01234567 (pid 301) in refdev_lose < param_attr_store < "
        "module_attr_store < sysfs_kf_write"
    )


@given(st.text(alphabet='un referncdobjt0x1(size):\n"comm,pij', max_size=300))
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(one, LostObject) for one in parse(text))


def test_no_board_makes_us_keep_more_than_so_many() -> None:
    assert len(parse(TOLD * MAX_OBJECTS)) == MAX_OBJECTS


def test_each_object_is_its_owners() -> None:
    board = Board()
    board.lose(1)  # at boot
    for owner, size in (("a", 2), ("b", 0), ("c", 3), ("c", 4)):
        board.leaks.begin(owner)
        if size:
            board.lose(size)
    found = {
        one.owner: ([lost.size for lost in one.objects], one.excused) for one in board.leaks.scan()
    }
    assert found == {"": ([1], True), "a": ([2], False), "c": ([3, 4], False)}


def test_what_is_lost_on_purpose_or_known_is_excused() -> None:
    board = Board(known=("in known_function",))
    board.leaks.begin("on purpose")
    board.leaks.tolerate()
    board.lose(1)
    board.leaks.begin("both")
    board.lose(2, "known_function")
    board.lose(3)
    found = [(one.owner, len(one.objects), one.excused) for one in board.leaks.scan()]
    assert found == [("on purpose", 1, True), ("both", 1, True), ("both", 1, False)]


def test_a_scan_is_not_repeated_for_nothing() -> None:
    board = Board()
    assert board.leaks.scan() == [] and not board.commands
    board.leaks.begin("a")
    board.leaks.scan()
    board.leaks.scan()
    assert len(board.commands) == 1
    board.leaks.begin("a")
    board.leaks.scan()
    assert len(board.commands) == 2


def test_a_kmemleak_that_is_off_says_so() -> None:
    board = Board()
    board.off = "Operation not permitted"
    with pytest.raises(BoardError, match="not permitted"):
        board.leaks.open()


def test_the_kernels_own_summary_is_nobodys_complaint() -> None:
    console = ScriptedConsole()
    ledger = Ledger(console)
    ledger.leave_out("memory_leak")
    console.say("[ 99.0] kmemleak: 8 new suspected memory leaks (see /sys/kernel/debug/kmemleak)")
    console.say("[ 99.1] WARNING: CPU: 0 PID: 1 at mm/slub.c:1 f+0x0/0x10")
    assert [one.event.pattern for one in ledger.hand_over()] == ["warning"]
