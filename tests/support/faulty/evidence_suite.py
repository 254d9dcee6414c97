"""Leaks on purpose: what is looked for around every case is found, and blamed on the right one."""

import shlex

import pytest

from farm.pytest_plugin.api import ControlError

ASKED, ANSWERS, LOG = (f"/tmp/evidence-{name}" for name in ("asked", "answers", "log"))


@pytest.fixture
def holder(board):
    """A process beside the harness that makes what a case asks it for, and holds it."""
    program = f"/tmp/farm/payload-* run evidence_hold asked={ASKED} answers={ANSWERS}"
    board.command(f"rm -f {ASKED} {ANSWERS} && mkfifo {ASKED} {ANSWERS}")
    board.command(f"setsid sh -c {shlex.quote(program)} </dev/null >{LOG} 2>&1 &")
    yield
    ended = f"grep -q '^# end' {LOG}"
    board.command(
        f"echo q > {ASKED}; for i in $(seq 100); do {ended} && exit; sleep 0.1; done; false"
    )


def ask(board, what, **options):
    return board.run("evidence_ask", asked=ASKED, answers=ANSWERS, what=what, **options)


def test_leaks_a_buffer(board, holder):
    ask(board, "b")


def test_is_clean_after_the_buffer(board):
    result = board.run("self_pass", must="x")
    assert result.counter("dma_buf_left") <= 0


def test_leaks_a_fence(board, holder):
    ask(board, "f")


@pytest.mark.xfail(reason="no leak is ever expected")
def test_leaks_though_it_may_fail(board, holder):
    ask(board, "b")


def test_leaks_on_purpose(board, holder):
    result = ask(board, "b", tolerate=["leak"])
    assert result.counter("dma_buf_left") == 1
    assert result.counter("dma_buf_bytes_left") == 16384


def test_leaks_a_descriptor(board):
    board.run("self_leak")


def test_frees_late(board):
    """What is freed by the last reference, a work item or RCU is no leak."""
    result = board.run("evidence_late", rounds=20)
    assert result.counter("dma_fence_init") >= 20
    assert result.counter("dma_fence_left") == 0
    assert result.counter("dma_buf_left") == 0


def test_takes_times(board):
    """What pauses meanwhile is counted in windows, and never told in part of the whole case."""
    result = board.run("reimport", importer="drm:vgem", rounds=2)
    assert result.counter("dma_buf_attach", phase="rounds") == 2
    with pytest.raises(ControlError, match="while times were taken"):
        result.counter("dma_buf_attach")
    assert result.counter("dma_fence_left") == 0
