"""Checks of boards and what becomes of their health, for every command that checks some."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm import paths
from farm.cli.output import printable
from farm.errors import InfraError
from farm.model import Verdict

if TYPE_CHECKING:
    from farm.inventory import BoardType
    from farm.run.orchestrator import Job


def check_folder(board: str) -> Path:
    """Return the folder of a new check's console and log."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return paths.data_dir() / "checks" / f"{stamp}-{board}"


def check_after_infra(
    jobs: Sequence[Job],
    coordinator: str,
    types: Mapping[str, BoardType],
    say: Callable[[str], None],
) -> None:
    """Check the boards on which a test's last verdict is INFRA, in the lab at ``coordinator``."""
    from farm.lab.coordinator import normal_address

    troubled = {
        job.spec.board: job.spec.board_type
        for job in jobs
        if Verdict.INFRA in job.view.final_counts()
    }
    for board, board_type in troubled.items():
        say(f"{board}: checking the board, since a test on it ended in INFRA (Ctrl-C leaves it)")
        try:
            found = check_board(normal_address(coordinator), board, types[board_type])
        except KeyboardInterrupt:
            say(f"{board}: not checked")
            return
        say(printable(f"{board}: {found['result']} {found['reason']}".strip()))


def check_board(address: str, board: str, board_type: BoardType) -> dict[str, Any]:
    """Check a board of the lab at ``address`` and write down what came out.

    A board that fails is tried until it does well or is quarantined. Return ``board``, ``result``
    (``well``, ``re-admitted``, ``failed``, ``quarantined`` or ``not checked``) and ``reason``.
    """
    from farm.lab.health import HealthBook
    from farm.run.checkup import CheckSpec, check

    book, rule = HealthBook(address), board_type.health
    before = book.of(board)
    spec = CheckSpec(
        coordinator=address,
        board=board,
        config=board_type.config,
        folder=check_folder(board),
        boots=1 if before.quarantined else max(1, rule.failures - before.failures),
        until_well=True,
    )
    health = before
    reason = ""
    try:
        for boot in check(spec):
            reason = boot.reason
            health = book.passed(board) if boot.ok else book.failed(board, reason, rule)
    except InfraError as error:
        return {"board": board, "result": "not checked", "reason": error.message}
    if reason:
        result = "quarantined" if health.quarantined else "failed"
        return {
            "board": board,
            "result": result,
            "reason": str(health) if health.quarantined else reason,
        }
    if health.quarantined:
        return {"board": board, "result": "quarantined", "reason": str(health)}
    return {"board": board, "result": "re-admitted" if before.quarantined else "well", "reason": ""}
