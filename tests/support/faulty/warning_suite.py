"""A WARN that a real kernel runs, by its own crash tester; the board's image has to have that."""

import pytest

CRASHER = "/sys/kernel/debug/provoke-crash/DIRECT"


@pytest.fixture
def crasher(board):
    board.command("modprobe lkdtm && mkdir -p /sys/kernel/debug")
    board.command(f"[ -e {CRASHER} ] || mount -t debugfs none /sys/kernel/debug")
    return lambda: board.command(f"echo WARNING > {CRASHER}")


def test_warns(crasher):
    crasher()


def test_is_clean(board):
    board.run("self_pass", must="x")
