"""labgrid strategy of exact boards: off, and on with an archive appended to the image."""

from __future__ import annotations

import enum
from typing import Any

import attr
import requests
from labgrid.factory import target_factory
from labgrid.step import step
from labgrid.strategy import Strategy, StrategyError

from farm.board.recorder import ConsoleRecorder

_UPLOAD_S = 60.0


class Status(enum.Enum):
    """Whether the board has power, as far as we know."""

    unknown = 0
    off = 1
    on = 2


@target_factory.reg_driver
@attr.s(eq=False)
class ExactStrategy(Strategy):  # type: ignore[misc]
    """Switches the board on with what it is to do, and off; the console is always recorded.

    The rack that offers the board takes the archive at the outlet's address, with ``archive`` in
    place of ``power``, as a lab keeper's TFTP server takes what a board loads.
    """

    bindings = {"power": "NetworkPowerDriver", "console": "RecordedSerialDriver"}  # noqa: RUF012

    status: Status = attr.ib(default=Status.unknown)

    @step(args=["status"])  # type: ignore[untyped-decorator]
    def transition(self, status: Status | str, *, step: Any) -> None:
        """Switch the board off or on; on with what it was given last."""
        wanted = Status[status] if isinstance(status, str) else status
        if wanted == Status.off:
            self._off()
        elif wanted == Status.on:
            self._on()
        else:
            raise StrategyError(f"can not transition to {status}")

    def boot(self, archive: bytes) -> int:
        """Power-cycle the board with an archive appended to its image.

        Returns:
            the number of the console's line at power-on.
        """
        self.target.activate(self.power)
        url = str(self.power.port.host).format(index=self.power.port.index)
        root, slash, last = url.rpartition("/")
        if not slash or last != "power":
            raise StrategyError(f"outlet {url}: expected an address that ends with /power")
        self.power.off()
        requests.put(f"{root}/archive", data=archive, timeout=_UPLOAD_S).raise_for_status()
        return self._on()

    def start_recording(self) -> None:
        """Switch the board off and begin to record its console."""
        self.target.activate(self.power)
        self.power.off()
        self.target.activate(self.console)
        self.status = Status.off

    @property
    def recording(self) -> ConsoleRecorder:
        """The recording of the console, which has to have begun."""
        recorder: ConsoleRecorder = self.console.recorder
        return recorder

    def _on(self) -> int:
        self.target.activate(self.power)
        self.target.activate(self.console)
        self.power.off()
        self.recording.note("power on")
        mark = self.recording.mark()
        self.power.on()
        self.status = Status.on
        return mark

    def _off(self) -> None:
        self.target.activate(self.power)
        self.power.off()
        self.status = Status.off
        self.target.deactivate(self.console)
        self.console.stop_recording()
