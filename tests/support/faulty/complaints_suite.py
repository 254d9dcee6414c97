"""Complaints of a real kernel, when no case is there to notice them, and when the next one is."""

import time

import pytest

WARNING = "<4>WARNING: CPU: 0 PID: 1 at drivers/dma-buf/farm.c:2 farm_later+0x0/0x10"


def later(board, command):
    """Have the board run a command half a second from now."""
    board.command(f"(sleep 0.5; {command}) </dev/null >/dev/null 2>&1 &")
    time.sleep(3)


def test_panics_outside_a_case(board):
    board.run("self_pass", must="x")
    later(board, "echo c > /proc/sysrq-trigger")


def test_runs_after_the_panic(board):
    board.run("self_pass", must="x")


def test_command_warns(board):
    board.command(f"echo '{WARNING}' > /dev/kmsg")


def test_warns_after_its_case(board):
    board.run("self_pass", must="x")
    later(board, f"echo '{WARNING}' > /dev/kmsg")


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
