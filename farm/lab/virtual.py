"""Virtual labs: a real labgrid coordinator and exporter, and a rack of QEMU boards behind them.

:func:`up` starts one that stays until :func:`down`; :func:`temporary` gives one for the time of a
``with`` block, which also ends when this process does, however it ends. Several labs run side by
side under different names.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farm import image, inventory
from farm.errors import LabError, UsageError
from farm.image import Firmware, Image, housekeeping
from farm.image.own import NOTHING, Own
from farm.inventory import BoardType
from farm.lab import devicetree, disk, files, processes, qemu, supervisor
from farm.lab.faults import HEALTHY, fitting
from farm.lab.files import BoardSpec, LabRecord, LabState, Outlets
from farm.lab.health import HealthBook
from farm.lab.records import boot_id

DEFAULT_NAME = "default"
END_S = 15.0
MAX_LOG = 1 << 20
"""Bytes of each log that a temporary lab leaves behind."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class VirtualBoard:
    """One board of a running virtual lab and where the rack offers it, all on 127.0.0.1."""

    place: str
    board_type: str
    image: str
    image_id: str
    power_url: str
    fault_url: str
    serial_port: int
    ssh_port: int


@dataclass(frozen=True, slots=True)
class VirtualLab:
    """A virtual lab as it is now. ``state`` is ``starting``, ``up``, ``failed`` or ``dead``.

    ``reason`` says why a lab failed; ``dead`` is a lab whose supervisor is gone without a word.
    """

    name: str
    state: str
    reason: str
    temporary: bool
    coordinator: str
    boards: tuple[VirtualBoard, ...]
    folder: Path

    @property
    def is_up(self) -> bool:
        """Whether boards can be had from it."""
        return self.state == LabState.UP.value

    def environment(self) -> dict[str, str]:
        """Return the variables that make labgrid-client, pytest and farm use this lab.

        ``PATH`` has the folder of this Python's commands first.
        """
        scripts = str(Path(sys.executable).parent)
        rest = [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p != scripts]
        hosts = [h for h in os.environ.get("NO_PROXY", "").split(",") if h]
        no_proxy = ",".join(dict.fromkeys([*hosts, *supervisor.LOOPBACK.split(",")]))
        return {
            "LG_COORDINATOR": self.coordinator,
            "FARM_LAB": self.name,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "PATH": os.pathsep.join([scripts, *rest]),
        }


def default_types(types: Mapping[str, BoardType]) -> list[str]:
    """Return the board types of which one board each is brought up where none is asked for."""
    return [name for name, one in types.items() if one.virtual is not None and one.virtual.default]


def up(
    name: str = DEFAULT_NAME,
    boards: Mapping[str, int] | None = None,
    *,
    profile: str = "",
    own: Own = NOTHING,
    faults: Mapping[str, str] | None = None,
    progress: Progress = lambda _: None,
) -> VirtualLab:
    """Start a lab that stays up, or return the one of this name if it has the same boards.

    ``boards`` says how many of each board type (one of each default type if not given);
    ``profile`` replaces the board types' own image, and ``own`` its kernel or adds drivers;
    ``faults`` breaks places by name (see :mod:`farm.lab.faults`), also where the lab is up.

    Raises:
        UsageError: an unknown or real board type, a place or fault that is not there, or another
            lab is up under this name.
        ImageError: an image could not be built.
        LabError: QEMU is missing, or a part of the lab did not start.
    """
    with _exclusive(name):
        specs = _board_specs(boards, profile, own, faults or {}, progress)
        lab = status(name)
        if lab is not None and lab.is_up:
            if [_kind(board) for board in lab.boards] == [_kind(spec) for spec in specs]:
                _set_faults(lab, [spec for spec in specs if spec.place in (faults or {})])
                return lab
            raise UsageError(
                f"a lab named {name!r} is up with other boards",
                next_step=f"end it with 'farm lab down --name {name}', or take another --name",
            )
        if lab is not None:
            _end(name)
        progress(f"starting a virtual lab with {len(specs)} boards")
        started = _start(name, specs, temporary=False)
        assert started.stdout is not None
        started.stdout.close()
        started.wait()
        return _running(name)


@contextlib.contextmanager
def temporary(
    boards: Mapping[str, int] | None = None,
    *,
    profile: str = "",
    own: Own = NOTHING,
    faults: Mapping[str, str] | None = None,
    progress: Progress = lambda _: None,
    logs: Path | None = None,
) -> Iterator[VirtualLab]:
    """Enter a lab that ends with the ``with`` block, or with this process however it ends.

    What its parts and its QEMUs logged is left in ``logs``, if the folder above that is there.
    Other arguments and errors are those of :func:`up`.
    """
    name = f"run-{secrets.token_hex(6)}"
    specs = _board_specs(boards, profile, own, faults or {}, progress)
    progress(f"starting a virtual lab with {len(specs)} boards")
    started = _start(name, specs, temporary=True)
    try:
        yield _running(name)
    finally:
        if logs is not None and logs.parent.is_dir():
            _leave_logs(files.folder(name), logs)
        started.communicate()  # closes its lifeline and waits for its end
        _end(name)


def _leave_logs(folder: Path, to: Path) -> None:
    """Copy the end of each log that says something; evidence, so no trouble with it ends a run."""
    with contextlib.suppress(OSError):
        to.mkdir(exist_ok=True)
        for log in folder.glob("*.log"):
            with log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - MAX_LOG))
                if said := stream.read(MAX_LOG):
                    (to / log.name).write_bytes(said)


def down(name: str = DEFAULT_NAME) -> bool:
    """End a lab and every process of it; return whether there was one.

    Also ends what is left of a lab whose supervisor was killed.

    Raises:
        LabError: a process cannot be ended.
    """
    if files.load(name) is None:
        return False
    _end(name)
    return True


def status(name: str = DEFAULT_NAME) -> VirtualLab | None:
    """Return a lab as it is now, or nothing if there is none of this name."""
    record = files.load(name)
    if record is None:
        return None
    state = record.state.value
    if state != LabState.FAILED and not _is_alive(record):
        state = "dead"
    return VirtualLab(
        name=record.name,
        state=state,
        reason=record.reason,
        temporary=record.temporary,
        coordinator=record.coordinator,
        boards=_virtual_boards(record),
        folder=files.folder(name),
    )


def labs() -> list[VirtualLab]:
    """Return every virtual lab of this machine's user."""
    return [lab for name in files.names() if (lab := status(name)) is not None]


def images_in_use() -> set[str]:
    """Return the ids of the images, and of the firmware, that this machine's labs boot."""
    records = filter(None, map(files.load, files.names()))
    return _cached_parts(spec for record in records for spec in record.boards)


def _cached_parts(specs: Iterable[BoardSpec]) -> set[str]:
    parts = [(spec.image_id, spec.firmware.parent.name if spec.firmware else "") for spec in specs]
    return {part for pair in parts for part in pair if part}


def environment(name: str = DEFAULT_NAME) -> dict[str, str]:
    """Return a running lab's :meth:`VirtualLab.environment`.

    Raises:
        LabError: there is no such lab, or it is not up.
    """
    return _running(name).environment()


def _is_alive(record: LabRecord) -> bool:
    """Return whether who looks after the lab runs: its starter, and then its supervisor."""
    first = [p for p in record.processes if p.role in ("supervisor", "starter")]
    return record.boot_id == boot_id() and any(map(processes.alive, first))


def _sweep() -> None:
    """Forget temporary labs that ended without tidying up, and end what is left of them."""
    for name in files.names():
        with contextlib.suppress(LabError):
            record = files.load(name)
            if record is not None and record.temporary and not _is_alive(record):
                _end(name)


def _kind(board: VirtualBoard | BoardSpec) -> tuple[str, str, str]:
    return (board.place, board.board_type, board.image_id)


def _virtual_boards(record: LabRecord) -> tuple[VirtualBoard, ...]:
    if record.outlets is None:
        return ()
    outlets: Outlets = record.outlets
    url = f"http://127.0.0.1:{outlets.http}/boards"
    return tuple(
        VirtualBoard(
            place=spec.place,
            board_type=spec.board_type,
            image=spec.image,
            image_id=spec.image_id,
            power_url=f"{url}/{number}/power",
            fault_url=f"{url}/{number}/fault",
            serial_port=outlets.serial[number],
            ssh_port=outlets.ssh[number],
        )
        for number, spec in enumerate(record.boards)
    )


def _running(name: str) -> VirtualLab:
    lab = status(name)
    if lab is not None and lab.is_up:
        return lab
    why = f"is {lab.state}{': ' if lab.reason else ''}{lab.reason}" if lab else "does not exist"
    again = "" if name == DEFAULT_NAME else f" --name {name}"
    raise LabError(f"virtual lab {name!r} {why}", next_step=f"start it with: farm lab up{again}")


def _board_specs(
    boards: Mapping[str, int] | None,
    profile: str,
    own: Own,
    faults: Mapping[str, str],
    progress: Progress,
) -> tuple[BoardSpec, ...]:
    emulator = qemu.version()
    types = inventory.load_board_types()
    virtual = [name for name, board_type in types.items() if board_type.virtual]
    wanted = dict.fromkeys(default_types(types), 1) if boards is None else boards
    places: dict[str, BoardType] = {}
    for type_name, count in wanted.items():
        if type_name not in virtual:
            raise UsageError(
                f"{type_name!r} is no virtual board type",
                next_step=f"choose from: {', '.join(sorted(virtual)) or 'none is configured'}",
            )
        if not 1 <= count <= 99:
            raise UsageError(f"{count} boards of type {type_name}: expected 1 to 99")
        places |= {f"{type_name}-{number}": types[type_name] for number in range(1, count + 1)}
    written = {place: _fault(places, place, text) for place, text in faults.items()}
    images: dict[str, Image] = {}
    specs: list[BoardSpec] = []
    for place, board_type in places.items():
        chosen = profile or board_type.image
        if chosen not in images:
            described = inventory.load_image_profile(chosen)
            images[chosen] = image.build(described, own=own, progress=progress)
        hardware = board_type.virtual
        assert hardware is not None
        source = hardware.firmware
        firmware = image.fetch_firmware(source, progress=progress) if source else None
        if hardware.disk:
            disk.tool()
        fault = written.get(place, str(HEALTHY))
        specs.append(_board_spec(place, board_type, images[chosen], firmware, emulator, fault))
    housekeeping.trim(images_in_use() | _cached_parts(specs))
    return tuple(specs)


def _fault(places: Mapping[str, BoardType], place: str, text: str) -> str:
    if place not in places:
        close = difflib.get_close_matches(place, places, n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(
            f"fault {text!r} for {place!r}: the lab has no such board{hint}",
            next_step=f"choose from: {', '.join(places)}",
        )
    hardware = places[place].virtual
    assert hardware is not None
    return fitting(text, exact=hardware.exact, firmware=hardware.firmware is not None)


def _set_faults(lab: VirtualLab, specs: Iterable[BoardSpec]) -> None:
    """Tell the rack of a lab that is up."""
    urls = {board.place: board.fault_url for board in lab.boards}
    for spec in specs:
        request = urllib.request.Request(urls[spec.place], spec.fault.encode(), method="PUT")
        try:
            # Loopback is never reached through a proxy.
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()
        except OSError as error:
            raise LabError(
                f"the rack of virtual lab {lab.name!r} does not take fault {spec.fault!r}: {error}",
                next_step=f"see rack.log in {lab.folder}",
            ) from error


def _board_spec(
    place: str,
    board_type: BoardType,
    made: Image,
    firmware: Firmware | None,
    emulator: str,
    fault: str,
) -> BoardSpec:
    hardware = board_type.virtual
    assert hardware is not None
    described = repr(replace(hardware, default=False))
    described += " ".join(qemu.EXACT) if hardware.exact else ""
    described += "disk" if hardware.disk else ""
    model = hashlib.sha256(described.encode()).hexdigest()[:8]
    machine = hardware.machine
    if not hardware.coherent:
        machine += f",dtb={devicetree.quoted(devicetree.noncoherent(hardware, emulator))}"
    return BoardSpec(
        place=place,
        board_type=board_type.name,
        image=made.profile,
        image_id=made.id,
        tags={
            "board_type": board_type.name,
            "image": made.profile,
            "image_id": made.id,
            "virtual": "yes",
            "hw_emulator": f"qemu-{emulator}",
            "hw_model": f"{hardware.cpu}-{model}",
            **({"hw_firmware": firmware.identity} if firmware else {}),
            **({"hw_exact": "yes"} if hardware.exact else {}),
        },
        kernel=made.kernel,
        initrd=made.initrd,
        machine=machine,
        cpu=hardware.cpu,
        smp=hardware.smp,
        memory_mib=hardware.memory_mib,
        devices=hardware.devices,
        append=hardware.append,
        firmware=firmware.path if firmware else None,
        disk=hardware.disk,
        exact=hardware.exact,
        fault=fault,
    )


@contextlib.contextmanager
def _exclusive(name: str) -> Iterator[None]:
    """Let one process at a time start or end the lab of this name."""
    files.folder(name)  # checks the name
    with (files.labs_dir() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start(name: str, specs: tuple[BoardSpec, ...], *, temporary: bool) -> subprocess.Popen[bytes]:
    """Start a supervisor and return it once the lab is up."""
    _sweep()
    folder = files.folder(name)
    folder.mkdir(exist_ok=True)
    record = LabRecord(
        name=name,
        state=LabState.STARTING,
        temporary=temporary,
        boot_id=boot_id(),
        created=time.time(),
        processes=(processes.identify("starter", os.getpid()),),
        boards=specs,
    )
    try:
        files.save(record)
        opened = (folder / "supervisor.log").open("wb")
    except FileNotFoundError:
        raise _ended_meanwhile(name) from None
    # A lab that stays is nobody's child: setsid leaves it to init and ends at once.
    leave = [] if temporary else ["setsid", "--fork"]
    with opened as log:
        started = subprocess.Popen(
            [*leave, sys.executable, "-m", "farm.lab.supervisor", name],
            stdin=subprocess.PIPE if temporary else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=supervisor.environment(),
            start_new_session=temporary,
        )
    assert started.stdout is not None
    try:
        line = started.stdout.readline()
        told = json.loads(line) if line else {}
    except BaseException:
        _end(name)
        started.communicate()
        raise
    if told.get("up"):
        return started
    if not told and files.load(name) is None:
        started.communicate()
        raise _ended_meanwhile(name)
    error = LabError(
        str(told.get("error") or f"the supervisor of virtual lab {name!r} ended at once"),
        next_step=str(told.get("next_step") or f"see the logs in {folder}"),
    )
    started.communicate()
    raise error


def _ended_meanwhile(name: str) -> LabError:
    return LabError(
        f"virtual lab {name!r} was ended while it started",
        next_step="start it again, and leave it up: farm lab up",
    )


def _end(name: str) -> None:
    """End the recorded processes of a lab, the supervisor first, and forget the lab."""
    record = files.load(name)
    if record is None:
        return
    if record.boot_id == boot_id():
        for process in record.processes:
            if process.role == "starter":
                continue
            gentle = process.role == "supervisor" and processes.end(process, signal.SIGTERM, END_S)
            if not gentle and not processes.end(process, signal.SIGKILL, END_S):
                raise LabError(
                    f"process {process.pid} ({process.role} of lab {name!r}) does not end",
                    next_step=f"look at it with: ps -fp {process.pid}",
                )
    if record.coordinator:
        HealthBook(record.coordinator).forget()
    files.forget(name)
