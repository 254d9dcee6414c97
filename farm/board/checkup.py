"""Checking a board: a power cycle, a boot, the link, the payload, and what its config asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from farm.board.exact.lifetime import ExactLifetime
from farm.board.exact.rig import ExactRig
from farm.board.judging import Session
from farm.board.lifetime import BoardLifetime
from farm.board.payload import Payload
from farm.board.result import CommandFailed
from farm.board.target import LabgridRig
from farm.errors import BoardError
from farm.inventory import BoardType


class Checkup:
    """Boots one board, again and again if need be; each boot begins with a power cycle."""

    def __init__(self, board_type: BoardType, payload: Payload, folder: Path) -> None:
        """Take the place that labgrid's variables name; the console is recorded into ``folder``.

        Raises:
            LabError: the coordinator, the place or one of its resources is not to be had.
        """
        self._type = board_type
        self._payload = payload
        kind = ExactRig if board_type.exact else LabgridRig
        self._rig = kind.from_config(board_type.config, folder)

    def boot(self) -> float:
        """Boot and check the board once; return the seconds from power-on until it answered.

        Raises:
            FarmError: something failed; where it was the lab, a LabError is it or its cause.
        """
        times: list[float] = []
        lifetime = self._lifetime(lambda session, boot, seconds: times.append(seconds))
        session = lifetime.session()
        try:
            for command in self._type.health.commands:
                session.command(command)
        except CommandFailed as error:
            raise BoardError(f"{self._rig.name}: {error}") from error
        finally:
            session.close()
        return times[0]

    def off(self) -> None:
        """Switch the board off and let go of it.

        Raises:
            BoardError: the outlet does not obey.
        """
        try:
            self._rig.off()
        finally:
            self._rig.close()

    def _lifetime(
        self, on_ready: Callable[[Session, int, float], None]
    ) -> BoardLifetime | ExactLifetime:
        rig, of_type, payload = self._rig, self._type, self._payload
        if isinstance(rig, ExactRig):
            return ExactLifetime(rig, of_type, payload, (), cached=False, on_ready=on_ready)
        return BoardLifetime(rig, of_type, payload, (), tries=1, on_ready=on_ready)
