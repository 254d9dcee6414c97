"""Everything that can go wrong on a board, provoked in this order."""

import pytest

from farm.pytest_plugin.api import control

# A panic, a reset, a lost link twice and a first hang: that is every reboot that a job may spend.


@pytest.mark.requirement("MAP-1")
@pytest.mark.case("self_samples")
@pytest.mark.over(importer="drm control")
def test_passes(board, importer):
    result = board.run("self_samples", count=2)
    assert result.outcome == "pass"
    assert board.kernel.at_least(6, 12)
    assert board.device(importer.id) == importer


@pytest.mark.case("kernel_panic")
def test_panics(board):
    board.run("kernel_panic")


@pytest.mark.case("self_pass")
def test_runs_after_the_panic(board):
    board.run("self_pass", must="x")


@pytest.mark.case("kernel_warn")
def test_warns(board):
    board.run("kernel_warn", before=300, after=300)


@pytest.mark.case("kernel_warn")
def test_warns_on_purpose(board):
    board.run("kernel_warn", tolerate=["warning"])


@pytest.mark.case("self_crash")
def test_crashes(board):
    board.run("self_crash")


@pytest.mark.case("self_leak")
def test_leaks(board):
    board.run("self_leak")


@pytest.mark.case("self_hang")
def test_exceeds_its_limit(board):
    board.run("self_hang", timeout_s=1)


@pytest.mark.case("self_fail")
@pytest.mark.xfail(reason="known to fail", strict=True)
def test_is_known_to_fail(board):
    board.run("self_fail")


@pytest.mark.case("self_skip")
def test_skips(board):
    board.run("self_skip")


def test_has_no_control(board):
    control(board.kernel.at_least(99), "nothing was mapped")


def test_runs_commands(board):
    assert "Linux" in board.command("uname -a")
    board.command("exit 3")


@pytest.mark.over(heap="heap")
def test_wants_what_is_not_declared(board, heap):
    raise AssertionError


def test_notes_a_cell(board, matrix_cell):
    matrix_cell(board.device("udmabuf"), board.device("bochs"), "refused", errno="EINVAL")


@pytest.mark.case("board_reset")
@pytest.mark.xfail(reason="no panic is ever expected", strict=False)
def test_resets(board):
    board.run("board_reset")


@pytest.mark.case("link_drop")
def test_loses_the_link(board):
    board.run("link_drop")


@pytest.mark.case("board_hang")
def test_hangs(board):
    board.run("board_hang", timeout_s=1)


def test_never_runs(board):
    """No reboot is left after the hang."""
