"""Checking one board in a process of its own: lease, boots, board off, release.

``python -m farm.run.checkup CHECK.json`` prints one :class:`Boot` a line as each ends, and then
``{"over": true}`` with what ended it early, if anything did. labgrid keeps process-wide state,
hence the process. When it is killed its keeper switches the board off and releases the place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from farm import paths
from farm.errors import BoardError, FarmError, InfraError, LabError
from farm.inventory import load_board_type
from farm.lab.coordinator import local_host
from farm.lab.lease import Lease, LeaseRequest, new_identity
from farm.run import joblist

if TYPE_CHECKING:
    from farm.board.checkup import Checkup

Say = Callable[[BaseModel], None]

LOG = "check.log"
"""What the process and labgrid say, in the check's folder."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckSpec(_Frozen):
    """What is to be checked: ``boots`` of a board, or fewer if one succeeds and ``until_well``."""

    coordinator: str
    board: str
    config: Path
    folder: Path
    boots: int = 1
    until_well: bool = False


class Boot(_Frozen):
    """One boot: how long it took in seconds, or why it failed; number 0 is switching it off."""

    number: int
    boot_s: float = 0.0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the board came up well."""
        return not self.reason


class Over(_Frozen):
    """The end of a check; ``reason`` says what of the lab ended it before all boots were done."""

    over: bool = True
    reason: str = ""
    next_step: str = ""


def check(spec: CheckSpec) -> Iterator[Boot]:
    """Check a board in a process of its own, and yield each boot as it ends.

    Whoever stops reading ends the check: the board goes off, its place is released.

    Raises:
        LabError: the place cannot be had, or the lab failed in between.
        InfraError: the process ended by itself.
    """
    spec.folder.mkdir(parents=True, exist_ok=True)
    file = spec.folder / "check.json"
    file.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
    log = spec.folder / LOG
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "farm.run.checkup", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            start_new_session=True,  # a Ctrl-C at the terminal comes through us only
        )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            try:
                yield Boot.model_validate_json(line)
            except ValidationError:
                over = Over.model_validate_json(line)
                if over.reason:
                    raise LabError(over.reason, next_step=over.next_step) from None
                return
        raise InfraError(
            f"the check of {spec.board} ended by itself (status {process.wait()})",
            next_step=f"see {log}",
        )
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _carry_out(spec: CheckSpec, say: Say) -> Over:
    from farm.board import payload
    from farm.board.checkup import Checkup

    request = LeaseRequest(
        coordinator=spec.coordinator,
        place=spec.board,
        identity=new_identity(local_host()),
        run=joblist.CHECK,
        for_check=True,
        job=spec.folder.name,
    )
    board_type = load_board_type(spec.config)
    program = payload.build()
    joblist.enlist(
        coordinator=spec.coordinator,
        board=spec.board,
        board_type=board_type.name,
        run=request.run,
        job=request.job,
        folder=spec.folder,
    )
    lease = Lease.take(request, on_lost=lambda reason: _lost(reason, say))
    os.environ.update(lease.environment())
    clean = False
    try:
        os.chdir(paths.project_root())
        checkup = Checkup(board_type, program, spec.folder)
        try:
            _boots(spec, checkup, say)
        finally:
            clean = _off(checkup, say)
    finally:
        lease.release(board_off=not clean)
    return Over()


def _boots(spec: CheckSpec, checkup: Checkup, say: Say) -> None:
    for number in range(1, spec.boots + 1):
        try:
            boot = Boot(number=number, boot_s=checkup.boot())
        except FarmError as error:
            if _of_the_lab(error):
                raise
            boot = Boot(number=number, reason=error.message.removeprefix(f"{spec.board}: "))
        say(boot)
        if boot.ok and spec.until_well:
            return


def _off(checkup: Checkup, say: Say) -> bool:
    try:
        checkup.off()
    except BoardError as error:
        say(Boot(number=0, reason=error.message))
        return False
    return True


def _of_the_lab(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, LabError):
        error = error.__cause__
    return error is not None


def _lost(reason: str, say: Say) -> None:
    """End at once: the board may be somebody else's now."""
    say(Over(reason=reason))
    os._exit(1)


def _reports() -> Say:
    """Return what reports on stdout; what labgrid and its drivers print there goes into the log."""
    reports = os.dup(1)
    os.dup2(2, 1)

    def say(message: BaseModel) -> None:
        os.write(reports, message.model_dump_json().encode() + b"\n")

    return say


def main(words: list[str]) -> int:
    """Carry out the check whose specification is the only argument."""
    spec = CheckSpec.model_validate_json(Path(words[0]).read_bytes())
    say = _reports()
    try:
        over = _carry_out(spec, say)
    except FarmError as error:
        over = Over(reason=error.message, next_step=error.next_step)
    say(over)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
