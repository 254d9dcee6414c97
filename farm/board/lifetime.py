"""One board from its first power-on to its last power-off: boots, sessions and recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from farm.board.complaints import Complaint, Ledger, sentence
from farm.board.loading import blame_driver
from farm.board.payload import Payload
from farm.board.recorder import Console
from farm.board.session import BoardSession, Link
from farm.counters.registry import Counter
from farm.errors import BoardError, BootError, InfraError, LinkLost, ProtocolError
from farm.inventory import BoardType

BOOT_TRIES = 3
"""Boots in a row that may fail before the board is given up."""


class Rig(Protocol):
    """Power, console and link of one board."""

    @property
    def name(self) -> str:
        """The board's name."""

    @property
    def console(self) -> Console:
        """The recording of its console."""

    @property
    def link(self) -> Link:
        """The connection, while the board is ready."""

    def boot(self) -> float:
        """Power-cycle the board, wait until it answers, and return the seconds it took."""

    def off(self) -> None:
        """Switch the board off."""


class BoardGone(InfraError):
    """The board was given up: nothing more can run on it in this job."""


class BoardLifetime:
    """Boots a board when a session is asked for and there is none, within ``limits.reboots``."""

    def __init__(
        self,
        rig: Rig,
        board_type: BoardType,
        payload: Payload,
        counters: Sequence[Counter],
        *,
        tries: int = BOOT_TRIES,
        on_state: Callable[[str, str], None] = lambda state, detail: None,
        on_ready: Callable[[BoardSession, int, float], None] = lambda session, boot, seconds: None,
    ) -> None:
        """Wait for the first :meth:`session`.

        ``tries`` boots in a row may fail before the board is given up. ``on_state`` gets a state
        and a detail before the state is entered; ``on_ready`` a new session, the boot's number
        (from 1) and the seconds that it took.
        """
        self.gone = ""
        self.boots = 0
        self._rig = rig
        self._type = board_type
        self._payload = payload
        self._counters = counters
        self._tries = tries
        self._on_state = on_state
        self._on_ready = on_ready
        self._session: BoardSession | None = None
        self._ledger: Ledger | None = None
        self._up = False

    def session(self) -> BoardSession:
        """Return the session, booting the board if there is none.

        Raises:
            BoardGone: the board does not come up, or its reboots are used up.
            DriverNotLoaded: it did not come up for the driver under test.
        """
        if self._session is not None and self._session.alive:
            return self._session
        if self.gone:
            raise BoardGone(self.gone)
        before = self._session.ended if self._session is not None else ""
        failure: InfraError | None = None
        for _ in range(self._tries):
            if self.boots > self._type.limits.reboots:
                said = f"; last: {failure}" if failure else ""
                raise self._give_up(f"{self.boots - 1} reboots are used up{said}") from failure
            try:
                return self._boot(str(failure or ""))
            except (BootError, LinkLost, ProtocolError) as error:
                failure = error
            except InfraError as error:
                said = f"; before that: {before}" if before else ""
                raise self._give_up(f"{error}{said}", error.next_step) from error
        often = f"{self._tries} boots failed, the last: " if self._tries > 1 else ""
        raise self._give_up(f"{often}{failure}") from failure

    def current(self) -> BoardSession | None:
        """Return the session if there is one."""
        return self._session

    def discard(self) -> None:
        """End the session: the next one begins with a power cycle."""
        if self._session is not None:
            self._session.close()

    def complaints(self) -> list[Complaint]:
        """Return what the kernel complained about since this was last asked.

        What it said while it booted is excused, and so is what it goes on to say after a boot that
        failed; the banners of boots that were meant are nothing. A board whose kernel died is
        booted before it is used again.
        """
        return self._judged(Ledger.hand_over)

    def overdue(self) -> list[Complaint]:
        """Return what it said since :meth:`complaints` was last asked, between two tests."""
        return self._judged(Ledger.overdue)

    def _judged(self, ask: Callable[[Ledger], list[Complaint]]) -> list[Complaint]:
        if not self._up:
            self._excuse_boot()
        found = ask(self._ledger) if self._ledger is not None else []
        deadly = (entry.event for entry in found if entry.event.fatal and not entry.excused)
        if self._session is not None and (event := next(deadly, None)) is not None:
            self._session.close(sentence(event))
        return found

    def off(self) -> None:
        """Switch the board off.

        Raises:
            BoardError: the outlet does not obey.
        """
        if self.boots == 0:
            return
        self.discard()
        self._on_state("off", "")
        self._rig.off()

    def _boot(self, why: str) -> BoardSession:
        if not why and self._session is not None:
            why = self._session.ended
        self._on_state("rebooting" if self.boots else "booting", why)
        self.discard()
        self.boots += 1
        if self._ledger is not None and self._up:
            self._ledger.power_on(self._rig.console.mark())
        self._up = False
        try:
            boot_s = self._rig.boot()
            self._up = True
        except BootError as error:
            blame_driver(error, self._rig.console)
            raise
        finally:
            self._excuse_boot()
        session = BoardSession(
            link=self._rig.link,
            console=self._rig.console,
            ledger=self._book(),
            payload=self._payload,
            limits=self._type.limits,
            counters=self._counters,
            patterns=self._type.console_patterns,
        )
        self._session = session
        session.open()
        self._on_state("ready", f"boot {self.boots}, {boot_s:.1f} s")
        self._on_ready(session, self.boots, boot_s)
        return session

    def _excuse_boot(self) -> None:
        if not self.boots:
            return
        with suppress(BoardError):  # the recording never began
            self._book().excuse(self._rig.console.mark())

    def _book(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self._rig.console, known=self._type.known_complaints)
        return self._ledger

    def _give_up(self, reason: str, next_step: str = "") -> BoardGone:
        name = f"{self._rig.name}: "
        self.gone = name + reason.removeprefix(name)
        return BoardGone(self.gone, next_step=next_step)
