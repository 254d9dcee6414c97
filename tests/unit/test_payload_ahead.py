"""The process that a serving payload forks ahead of the next case."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from farm.board.payload import build
from tests.support.serving import Serving

_T = TypeVar("_T")


@pytest.fixture
def serving() -> Iterator[Serving]:
    served = Serving(build("host"))
    served.line()
    yield served
    served.close()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def eventually(look: Callable[[], _T]) -> _T:
    """Look until there is something to see."""
    for _ in range(3000):
        if seen := look():
            return seen
        time.sleep(0.01)
    raise AssertionError("not seen within 30 s")


def waiting(serving: Serving) -> int:
    """Return the process that awaits its case: it is the only one left after a block."""
    (pid,) = eventually(lambda: children(serving.process.pid))
    return pid


def passes(serving: Serving, run: str) -> bool:
    return "# outcome pass" in serving.block(run)


def test_one_process_awaits_the_next_case_and_runs_it(serving: Serving) -> None:
    serving.send("ping 1")
    serving.line()
    assert children(serving.process.pid) == []  # none before the first case: counters come first
    assert passes(serving, "run a 0 self_pass")
    first = waiting(serving)
    serving.send("ping 2")
    serving.line()
    assert waiting(serving) == first
    assert passes(serving, "run b 0 self_pass")
    assert waiting(serving) != first
    assert not Path(f"/proc/{first}").exists()


def test_a_waiting_process_that_was_killed_costs_no_case(serving: Serving) -> None:
    assert passes(serving, "run a 0 self_pass")
    first = waiting(serving)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: is_dead(first))
    assert passes(serving, "run b 0 self_pass")


def test_counters_that_are_opened_later_count_for_the_next_case(serving: Serving) -> None:
    assert passes(serving, "run a 0 self_pass")
    first = waiting(serving)
    serving.send("counters faults=sw:2")
    serving.until("counters done")
    block = serving.block("run b 0 self_pass")
    assert any("faults" in line for line in block)
    assert "# outcome pass" in block
    assert not Path(f"/proc/{first}").exists()


def test_it_ends_with_the_payload(serving: Serving) -> None:
    assert passes(serving, "run a 0 self_pass")
    first = waiting(serving)
    serving.process.kill()
    serving.process.wait()
    eventually(lambda: is_dead(first))


def is_dead(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_more_than_it_can_be_told_is_refused() -> None:
    done = subprocess.run(
        [build("host").path, "run", "self_trace", "line=" + "x" * 40_000],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 3
    assert b"the harness could not start it: E2BIG" in done.stdout
