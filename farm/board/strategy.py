"""The strategy that takes a board from off to ready, also one without power control or console."""

from __future__ import annotations

import enum
import time
from typing import Any, ClassVar

import attr
from labgrid.driver import ManualPowerDriver
from labgrid.factory import target_factory
from labgrid.step import step
from labgrid.strategy import Strategy, StrategyError

from farm.board import access
from farm.board.boot import BootWatch, await_ready
from farm.board.noconsole import NoConsole
from farm.board.reboot import ask_for_reboot, boot_id, uptime
from farm.board.recorder import ConsoleRecorder
from farm.errors import BoardError, LinkLost

_BY_HAND = "(nothing here can switch its power: do it by hand)"
_OBEY_S = 10.0
"""How long an outlet may take to say that it is what it was told to be: PDUs ask their relays."""
_ASK_S = 0.5
_CLOCKS_S = 5.0
"""Seconds by which a board's clock may be ahead of ours since power-on."""
_FIRST_TRY = "the first try (nothing here can switch its power on)"


class Status(enum.Enum):
    """Where a board is between off and ready."""

    unknown = 0
    off = 1
    on = 2
    uboot = 3
    linux = 4
    ready = 5


@target_factory.reg_driver
@attr.s(eq=False)
class BoardStrategy(Strategy):  # type: ignore[misc]
    """Takes a board from off over on (powered, recorded) to ready (answers by SSH).

    A transition that failed may be tried again: the next one begins with the power off.
    Without a power driver the board is taken as it runs, a power cycle is a reboot over SSH, and
    off leaves it on; so too with a ManualPowerDriver, which asks for a hand, and a job has no
    terminal to ask at. Without a console nothing is recorded.
    """

    bindings = {  # noqa: RUF012
        "power": {"PowerProtocol", None},
        "console": {"RecordedSerialDriver", None},
        "ssh": "ParamikoSSHDriver",
    }

    power: Any
    status: Status = attr.ib(default=Status.unknown)

    stages: ClassVar[tuple[Status, ...]] = (Status.on, Status.ready)
    """What a board passes through after off, in order."""

    def __attrs_post_init__(self) -> None:
        """Start without knowing whether the board is on."""
        super().__attrs_post_init__()
        if isinstance(self.power, ManualPowerDriver):
            self.power = None
        self.boot_s = 0.0
        self._watch = BootWatch(NoConsole(), 0)
        self._powered = 0.0
        self._since = "power-on"
        self._boot_id = ""

    @step(args=["status"])  # type: ignore[untyped-decorator]
    def transition(self, status: Status | str, *, step: Any) -> None:
        """Bring the board into a state.

        Raises:
            BootError: it did not become ready within ``limits.boot_s``.
            StrategyError: there is no way to that state.
        """
        wanted = Status[status] if isinstance(status, str) else status
        if wanted == self.status:
            step.skip("nothing to do")
        elif wanted == Status.off:
            self._off()
        elif wanted in self.stages:
            self._bring_up(wanted)
        else:
            raise StrategyError(f"can not transition to {status}")

    @step(args=["status"])  # type: ignore[untyped-decorator]
    def force(self, status: Status | str, *, step: Any) -> None:
        """Believe that the board is in a state, and connect what belongs to it."""
        wanted = Status[status] if isinstance(status, str) else status
        if wanted == Status.unknown:
            raise StrategyError(f"can not force state {status}")
        self._activate(self.power)
        if wanted in self.stages:
            self._activate(self.console)
        if wanted == Status.ready:
            self.target.activate(self.ssh)
        self.status = wanted

    def power_cycle(self) -> None:
        """Boot the board anew; the recording goes on throughout.

        Raises:
            BootError: it did not become ready.
        """
        self.target.deactivate(self.ssh)
        if self.status != Status.off:
            self.status = Status.unknown
        self._bring_up(Status.ready)

    def _bring_up(self, wanted: Status) -> None:
        """Go on to a stage from where the board is, or from off if it is beyond."""
        reached = self.stages.index(self.status) + 1 if self.status in self.stages else 0
        goal = self.stages.index(wanted) + 1
        for stage in self.stages[reached if reached < goal else 0 : goal]:
            self._enter(stage)

    def _enter(self, stage: Status) -> None:
        """Enter a stage from the one before it."""
        if stage == Status.on:
            self._on()
        else:
            self._ready()

    @property
    def recording(self) -> ConsoleRecorder | NoConsole:
        """The recording of the console, which has to have begun where there is a console."""
        if self.console is None:
            return NoConsole()
        recorder: ConsoleRecorder = self.console.recorder
        return recorder

    def _off(self) -> None:
        self.target.deactivate(self.ssh)
        if self.power is not None:
            self.target.activate(self.power)
            self._switch(False)
        self.status = Status.off
        if self._recording():
            self.console.recorder.wait_quiet(0.2, 2.0)
            self.console.recorder.note("power off" if self.power is not None else "left on")
        if self.console is not None:
            self.target.deactivate(self.console)
            self.console.stop_recording()

    def _on(self) -> None:
        self.target.deactivate(self.ssh)
        self._activate(self.power)
        self._activate(self.console)
        recorder = self.recording
        if self.power is None:
            self._watch = BootWatch(recorder, recorder.mark())
            self._powered = time.monotonic()
            self._since = self._restart() if self._boot_id else _FIRST_TRY
            self.status = Status.on
            return
        if self.status != Status.off and self._outlet_says() is not False:
            recorder.note("power off")
            self._switch(False)
            time.sleep(getattr(self.power, "delay", 2.0))
        self.status = Status.off
        if self.console is not None:  # who reads it shall not find what the last boot left behind
            self.target.deactivate(self.console)
            self.target.activate(self.console)
        recorder.note("power on")
        self._watch = BootWatch(recorder, recorder.mark())
        self._powered = time.monotonic()
        self._switch(True)
        self.status = Status.on

    def _ready(self) -> None:
        self.status = Status.unknown
        limit = access.limits(self.target).boot_s
        with self.ssh.connecting_later():
            self.target.activate(self.ssh)

        def answers(timeout: float) -> bool:
            if not self.ssh.dial(timeout):
                return False
            try:
                self.ssh.login()
                return self.power is not None or self._is_new_boot()
            except LinkLost:
                return False

        announced = self.console is not None and access.boots_our_image(self.target)
        await_ready(self._watch, answers, limit, since=self._since, announced=announced)
        self.boot_s = time.monotonic() - self._powered
        if self.power is not None:
            self._expect_fresh_boot()
        self.recording.note(f"ready after {self.boot_s:.1f} s")
        self.status = Status.ready

    def _restart(self) -> str:
        """Have a board reboot that nothing can switch; return what its time then counts from."""
        try:
            self.target.activate(self.ssh)
            link = self.ssh.link
            if boot_id(link) != self._boot_id:
                return f"its own restart {_BY_HAND}"
            ask_for_reboot(link)
        except LinkLost:
            return f"its falling silent {_BY_HAND}"
        except BoardError as error:
            raise BoardError(
                f"{error}; nothing else can restart this board",
                next_step="switch it off and on by hand",
            ) from error
        finally:
            self.target.deactivate(self.ssh)
        return f"a reboot over SSH {_BY_HAND}"

    def _is_new_boot(self) -> bool:
        """Tell whether a board without power control has come up since it was last ready."""
        now = boot_id(self.ssh.link)
        if now == self._boot_id:
            self.ssh.link.close()
            return False
        self._boot_id = now
        return True

    def _activate(self, driver: Any) -> None:
        if driver is not None:
            self.target.activate(driver)

    def _switch(self, on: bool) -> None:
        """Switch the power, and see to it that the outlet says so, where it can say."""
        if on:
            self.power.on()
        else:
            self.power.off()
        deadline = time.monotonic() + _OBEY_S
        while self._outlet_says() is (not on):
            if time.monotonic() > deadline:
                told, is_now = ("on", "off") if on else ("off", "on")
                raise BoardError(
                    f"the outlet was told to switch {told}, and {_OBEY_S:g} s later says that it "
                    f"is {is_now}",
                    next_step="switch it by hand, and see whether the board follows",
                )
            time.sleep(_ASK_S)

    def _outlet_says(self) -> bool | None:
        """Return whether the outlet says that it is on; nothing where it cannot say."""
        try:
            return bool(self.power.get())
        except (AttributeError, NotImplementedError):
            return None

    def _expect_fresh_boot(self) -> None:
        """Make sure that what answers has been switched on by us, and did not just run on.

        Raises:
            BoardError: its kernel has been up for longer than the power has been on.
        """
        up = uptime(self.ssh.link)
        since = time.monotonic() - self._powered  # afterwards: asking may take a while
        if up > since + _CLOCKS_S:
            raise BoardError(
                f"the board has been up for {up:.0f} s and was switched on {since:.0f} s ago, so "
                "its outlet does not switch it",
                next_step="check which outlet the board is on, and that it switches",
            )

    def _recording(self) -> bool:
        try:
            return self.console is not None and bool(self.console.recorder.running)
        except LinkLost:
            return False
