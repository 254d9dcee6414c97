"""A payload that nobody can believe: what it says costs its own test, and none after it."""

import pytest


def test_makes_noise(board):
    board.run("stream_break", what="noise", mib=100)


def test_is_clean(board):
    board.run("self_pass", must="x")


@pytest.mark.parametrize("what", ["half", "rubbish"])
def test_breaks_the_stream(board, what):
    board.run("stream_break", what=what)


def test_is_clean_again(board):
    board.run("self_pass", must="x")
