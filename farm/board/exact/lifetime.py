"""An exact board from its first power-on to its last power-off."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from farm.board.complaints import Complaint, Ledger
from farm.board.exact.cache import Cache
from farm.board.exact.rig import ExactRig
from farm.board.exact.session import ExactSession
from farm.board.judging import Session
from farm.board.lifetime import BoardGone
from farm.board.loading import blame_driver
from farm.board.payload import Payload
from farm.counters.registry import Counter
from farm.errors import BootError, InfraError
from farm.inventory import BoardType


class ExactLifetime:
    """Gives the one session of an exact board, in which boots come and go.

    ``boots`` counts the looks at the board that made a session, not the boots of its cases.
    """

    def __init__(
        self,
        rig: ExactRig,
        board_type: BoardType,
        payload: Payload,
        counters: Sequence[Counter],
        *,
        cached: bool,
        on_state: Callable[[str, str], None] = lambda state, detail: None,
        on_ready: Callable[[Session, int, float], None] = lambda session, boot, seconds: None,
    ) -> None:
        """Wait for the first :meth:`session`; see :class:`farm.board.lifetime.BoardLifetime`.

        ``cached`` lets answers come from the cache where nothing they depend on has changed.
        """
        self.boots = 0
        self._rig = rig
        self._type = board_type
        self._payload = payload
        self._counters = counters
        self._cached = cached
        self._on_state = on_state
        self._on_ready = on_ready
        self._session: ExactSession | None = None
        self._gone = ""

    @property
    def gone(self) -> str:
        """Why nothing more can run on the board; empty while it can."""
        failed = self._session.failures if self._session is not None else 0
        if not self._gone and failed > self._type.limits.reboots:
            self._gone = f"{self._rig.name}: {failed} boots failed"
        return self._gone

    def session(self) -> ExactSession:
        """Return the session.

        Raises:
            BoardGone: the board does not come up.
            DriverNotLoaded: it does not for the driver under test.
        """
        if self._session is not None:
            return self._session
        if self.gone:
            raise BoardGone(self.gone)
        self._on_state("booting", "")
        self.boots += 1
        began = time.monotonic()
        try:
            session = self._open()
        except InfraError as error:
            if isinstance(error, BootError):
                blame_driver(error, self._rig.console)
            self._gone = f"{self._rig.name}: {error}"
            raise BoardGone(self._gone, next_step=error.next_step) from error
        self._session = session
        seconds = time.monotonic() - began
        self._on_state("ready", f"a boot for each case; the first took {seconds:.1f} s")
        self._on_ready(session, self.boots, seconds)
        return session

    def current(self) -> ExactSession | None:
        """Return the session if there is one."""
        return self._session

    def discard(self) -> None:
        """Do nothing: the next case has a boot of its own."""

    def complaints(self) -> list[Complaint]:
        """Return what the kernel complained about since this was last asked, less boot banners."""
        return self._session.ledger.hand_over() if self._session is not None else []

    def overdue(self) -> list[Complaint]:
        """Return what it said since then, between two tests."""
        return self._session.ledger.overdue() if self._session is not None else []

    def off(self) -> None:
        """Switch the board off.

        Raises:
            BoardError: the outlet does not obey.
        """
        if self.boots:
            self._on_state("off", "")
            self._rig.off()

    def _open(self) -> ExactSession:
        self._rig.start_recording()
        session = ExactSession(
            rig=self._rig,
            cache=Cache(self._rig.identity, enabled=self._cached),
            console=self._rig.console,
            ledger=Ledger(self._rig.console, known=self._type.known_complaints),
            payload=self._payload,
            limits=self._type.limits,
            counters=self._counters,
            patterns=self._type.console_patterns,
        )
        session.open()
        return session
