"""Complaints of a real kernel, when no case is there to notice them, and when the next one is."""

import time
from pathlib import Path

import pytest

LATER = "farm_later"
WARNING = f"<4>WARNING: CPU: 0 PID: 1 at drivers/dma-buf/farm.c:2 {LATER}+0x0/0x10"
PATIENCE_S = 60


@pytest.fixture
def heard(pytestconfig):
    """Wait until the console has said what a command makes the kernel say."""
    console = Path(pytestconfig.getoption("farm_out")) / "console.log"

    def hear(line, command):
        before = console.read_text(errors="replace").count(line)
        command()
        deadline = time.monotonic() + PATIENCE_S
        while console.read_text(errors="replace").count(line) == before:
            assert time.monotonic() < deadline, f"no {line!r} on the console"
            time.sleep(0.05)

    return hear


def later(board, command):
    """Have the board run a command half a second from now: nobody is at work then."""
    board.command(f"(sleep 0.5; {command}) </dev/null >/dev/null 2>&1 &")


def test_panics_outside_a_case(board, heard):
    board.run("self_pass", must="x")
    heard("end Kernel panic", lambda: later(board, "echo c > /proc/sysrq-trigger"))


def test_runs_after_the_panic(board):
    board.run("self_pass", must="x")


def test_command_warns(board, heard):
    heard(LATER, lambda: board.command(f"echo '{WARNING}' > /dev/kmsg"))


def test_warns_after_its_case(board, heard):
    board.run("self_pass", must="x")
    heard(LATER, lambda: later(board, f"echo '{WARNING}' > /dev/kmsg"))


@pytest.mark.xfail(reason="no warning is ever expected")
def test_warns_though_it_may_fail(board):
    board.run("kernel_warn")


@pytest.mark.parametrize("turn", range(10))
def test_warns_on_purpose(board, turn):
    board.run("kernel_warn", tolerate=["warning"])


@pytest.mark.parametrize("turn", range(10))
def test_pairs(board, turn):
    with pytest.raises(Exception, match="the kernel complained"):
        board.run("kernel_warn")
    for _ in range(3):
        board.run("self_pass", must="x")


def test_is_clean(board):
    board.run("self_pass", must="x")
