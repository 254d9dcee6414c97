"""The board and the journal of one pytest run."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from farm import __version__, events, image
from farm.board import payload
from farm.board.complaints import Complaint
from farm.board.console import ConsoleEvent
from farm.board.exact.lifetime import ExactLifetime
from farm.board.exact.rig import ExactRig
from farm.board.firmware import firmware
from farm.board.judging import EXCERPT_LINES, Session
from farm.board.kmemleak import KMEMLEAK, PATTERN, Leak
from farm.board.lifetime import BoardGone, BoardLifetime
from farm.board.loading import DriverNotLoaded, check_drivers
from farm.board.target import LabgridRig
from farm.counters.registry import chosen
from farm.errors import BoardError, FarmError, ImageError, InfraError, LabError, LinkLost
from farm.events import ImageInfo, Key, Package
from farm.model import Device, TestKey
from farm.pytest_plugin.settings import Settings
from farm.run.closing import artifacts
from farm.run.journal import JournalWriter
from farm.run.view import JobView

JOURNAL = "journal.jsonl"
"""Name of a journal that is begun here."""
MAX_COMPLAINTS = 200
"""Complaints of one test that the journal keeps."""
_MAX_COMPLAINT_LINE = 2000


class Job:
    """One board, from the first test that wants it to the last, and the journal about it.

    Where ``settings.journal`` is set, somebody else began the journal and will end it; else this
    job does both. ``booting_s`` counts the seconds that went into boots; ``running`` is the node id
    of the test that is.
    """

    def __init__(self, settings: Settings, environment: Callable[[], Any]) -> None:
        """Touch neither board nor disk yet; ``environment`` gives labgrid's for ``--lg-env``."""
        self.settings = settings
        self.journal_path = settings.journal or settings.out / JOURNAL
        self._environment = environment
        self._journal: JournalWriter | None = None
        self._rig: LabgridRig | None = None
        self._lifetime: BoardLifetime | ExactLifetime | None = None
        self._gone = ""
        self._unloaded: list[ConsoleEvent] | None = None
        self._before = JobView("")
        self.booting_s = 0.0
        self.running = ""

    @property
    def begun(self) -> bool:
        """Whether the journal is open."""
        return self._journal is not None

    @property
    def gone(self) -> str:
        """Why nothing more can run on the board; empty while it can."""
        return self._gone or (self._lifetime.gone if self._lifetime else "")

    def begin(self, tests: Sequence[TestKey]) -> None:
        """Build the payload, open the journal and write the plan.

        Raises:
            UsageError: the payload does not build.
            InfraError: the lab has no such board, where the job is ours to begin.
            JournalError: the journal cannot be opened.
        """
        payload.build()  # before the board is switched on for nothing
        if self.settings.journal is None:
            rig = self._open_rig()
            self._journal = JournalWriter.create(self.journal_path)
            self.write(self._started(rig))
        else:
            self._journal = JournalWriter.open(self.journal_path)
            for event in events.read_journal(self.journal_path):
                self._before.add(event)
        self.write(events.Plan(tests=[Key.of(key) for key in tests]))

    def attempts(self, nodeid: str) -> int:
        """Return how many attempts of a test there were before the job was resumed."""
        return self._before.attempts.get(nodeid, 0)

    def write(self, event: events.Event) -> None:
        """Append an event to the journal."""
        assert self._journal is not None, "begin() opens the journal"
        self._journal.write(event)

    def image(self) -> ImageInfo:
        """Return which image the board boots, and what it is made of.

        Raises:
            InfraError: the lab has no such board.
        """
        return _image_info(self.settings.profile.name, self._open_rig().tags)

    def session(self) -> Session:
        """Return the board's session, booting it if need be.

        Raises:
            InfraError: there is none to be had; :attr:`gone` then says so.
            DriverNotLoaded: it booted without the driver under test, and :attr:`gone` says so.
        """
        if self.gone:
            raise BoardGone(self.gone)
        if self._lifetime is None:
            try:
                self._lifetime = self._open_lifetime()
            except InfraError as error:
                self._gone = str(error)
                raise
        boots, began = self._lifetime.boots, time.monotonic()
        try:
            session = self._lifetime.session()
        except DriverNotLoaded as error:
            self._gone = str(error)
            raise
        finally:
            if self._lifetime.boots != boots:
                self.booting_s += time.monotonic() - began
        if session.memory is not None:
            session.memory.begin(self.running)
        return session

    @property
    def boots(self) -> int:
        """How often the board was booted."""
        return self._lifetime.boots if self._lifetime is not None else 0

    def discard_session(self) -> None:
        """Have the board power-cycled before it is used again."""
        if self._lifetime is not None:
            self._lifetime.discard()

    def console_tail(self, count: int) -> list[str]:
        """Return the console's last lines, none if nothing was recorded."""
        if self._rig is None or self._lifetime is None or self._lifetime.boots == 0:
            return []
        try:
            return self._rig.console.tail(count)
        except FarmError:
            return []

    def excerpt(self, event: ConsoleEvent) -> list[str]:
        """Return the console's lines around a complaint, waiting for those that explain a death."""
        try:
            console = self._open_rig().console
        except FarmError:
            return []
        if event.fatal:
            console.wait_quiet(0.5, 5.0)
        return console.since(max(0, event.line_number - 5))[:EXCERPT_LINES]

    def write_complaints(self, nodeid: str) -> list[ConsoleEvent]:
        """Write what the kernel complained about since last time, as said during ``nodeid``.

        A module that did not load is told once, however often the board boots. Return what is not
        excused.
        """
        found = [Complaint(event, False) for event in self._unloaded or ()]
        if found:
            self._unloaded = []
        found += self._lifetime.complaints() if self._lifetime is not None else []
        return self._write(found, nodeid)

    def write_overdue(self, nodeid: str) -> list[ConsoleEvent]:
        """The same of what it said after the end of the test ``nodeid``, before another began."""
        found = self._lifetime.overdue() if self._lifetime is not None else []
        return self._write(found, nodeid)

    def write_leaks(self) -> list[Leak]:
        """Have the kernel look for memory that was lost since last time, and write down what is.

        Return what is not excused. Takes seconds, on a kernel with kmemleak; nothing elsewhere.
        """
        session = self._lifetime.current() if self._lifetime is not None else None
        if session is None or not session.alive or session.memory is None:
            return []
        try:
            leaks = session.memory.scan()
        except BoardError as error:
            session.memory = None
            if isinstance(error, LinkLost):
                session.close(str(error))
            self.write(events.StateChanged(state="running", detail=f"{KMEMLEAK}: {error}"))
            return []
        for leak in leaks:
            event = ConsoleEvent(PATTERN, False, str(leak), session.console.mark())
            self._write([Complaint(event, leak.excused)], leak.owner)
        return [leak for leak in leaks if not leak.excused]

    def _write(self, found: Sequence[Complaint], nodeid: str) -> list[ConsoleEvent]:
        for complaint in found[:MAX_COMPLAINTS]:
            self.write(_complaint(complaint.event, nodeid))
        return [complaint.event for complaint in found if not complaint.excused]

    def end(self, reason: str) -> None:
        """Switch the board off, write down what files there are, and let go of the journal."""
        if self._journal is None:
            return
        try:
            trouble = self._leave()
            reason = reason or trouble
            for event in artifacts(self.settings.out, self.journal_path):
                self.write(event)
            if self.settings.journal is None:
                self.write(events.JobFinished(ok=not reason, reason=reason))
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Close the journal, if it is still open: whoever began it goes on with it."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def _leave(self) -> str:
        """Switch the board off and let go of it; return what went wrong, or nothing."""
        try:
            if self._lifetime is not None and not self.settings.leave_on:
                self._lifetime.off()
        except InfraError as error:
            return str(error)
        finally:
            if self._rig is not None:
                self._rig.close()
        return ""

    def _open_rig(self) -> LabgridRig:
        if self._rig is None:
            kind = ExactRig if self.settings.exact else LabgridRig
            rig = kind(self._environment(), self.settings.out)
            _check_place(rig, self.settings)
            self._rig = rig
        return self._rig

    def _open_lifetime(self) -> BoardLifetime | ExactLifetime:
        rig, board_type = self._open_rig(), self.settings.board_type
        program, counters = payload.build(), chosen()
        if isinstance(rig, ExactRig):
            return ExactLifetime(
                rig, board_type, program, counters,
                cached=self.settings.cached, on_state=self._on_state, on_ready=self._board_ready,
            )  # fmt: skip
        return BoardLifetime(
            rig, board_type, program, counters,
            on_state=self._on_state, on_ready=self._board_ready,
        )  # fmt: skip

    def _on_state(self, state: str, detail: str) -> None:
        self.write(events.StateChanged(state=state, detail=detail))

    def _board_ready(self, session: Session, boot: int, boot_s: float) -> None:
        boot += self._before.boots
        virtual = self.settings.board_type.virtual
        facts = {
            **session.topology["board"],
            **session.facts,
            **firmware(
                session.topology["board"],
                session.console.since(0),
                direct=virtual is not None and virtual.firmware is None,
            ),
        }
        facts.update((f"absent_{name}", reason) for name, reason in session.absent.items())
        self.write(
            events.BoardReady(
                boot=boot,
                kernel=str(session.kernel),
                boot_s=boot_s,
                facts=facts,
                topology={
                    **session.topology,
                    "declared": [_declared(device) for device in self.settings.devices],
                },
            )
        )
        self.write(events.StateChanged(state="running"))
        content = json.dumps(session.topology, indent=1, sort_keys=True)
        (self.settings.out / f"topology-{boot}.json").write_text(content + "\n")
        unloaded = check_drivers(session.topology, session.console)
        if self._unloaded is None:
            self._unloaded = unloaded

    def _started(self, rig: LabgridRig) -> events.JobStarted:
        settings = self.settings
        return events.JobStarted(
            run=settings.run,
            job=settings.job,
            board=rig.name,
            board_type=settings.board_type.name,
            image=self.image(),
            hardware={
                key.removeprefix("hw_"): value
                for key, value in sorted(rig.tags.items())
                if key.startswith("hw_")
            },
            farm_version=__version__,
            argv=sys.argv,
            effort=settings.effort,
            controller=socket.gethostname(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            pid=os.getpid(),
        )


def _declared(device: Device) -> dict[str, Any]:
    """Return what a board's topology says of a device that board type or image declare."""
    return {
        "id": device.id,
        "kind": device.kind.value,
        "driver": device.driver,
        "address": device.address,
        "exports": device.exports,
        "imports": device.imports,
    }


def _complaint(event: ConsoleEvent, nodeid: str) -> events.Complaint:
    line = event.line[:_MAX_COMPLAINT_LINE]
    return events.Complaint(pattern=event.pattern, line=line, nodeid=nodeid, fatal=event.fatal)


def _check_place(rig: LabgridRig, settings: Settings) -> None:
    """Refuse a place that is not of the type, or boots another image than was collected for."""
    kind = rig.tags.get("board_type", settings.board_type.name)
    if kind != settings.board_type.name:
        raise LabError(
            f"place {rig.name} is of board type {kind}, {settings.board_type.config.name} "
            f"describes {settings.board_type.name}",
            next_step=f"use the board config of {kind}, or reserve another place",
        )
    profile = rig.tags.get("image", settings.profile.name)
    if profile != settings.profile.name:
        raise LabError(
            f"place {rig.name} boots image {profile}, the tests were collected for "
            f"{settings.profile.name}",
            next_step=f"give --farm-image {profile}",
        )


def _image_info(profile: str, tags: Mapping[str, str]) -> ImageInfo:
    image_id = tags.get("image_id", "")
    if not image_id:
        return ImageInfo(profile=profile)
    try:
        packages = image.find(image_id).packages
    except ImageError:
        return ImageInfo(profile=profile, id=image_id)
    rows = [
        Package(
            package=row.package,
            version=row.version,
            architecture=row.architecture,
            sha256=row.sha256,
        )
        for row in packages
    ]
    return ImageInfo(profile=profile, id=image_id, packages=rows)
