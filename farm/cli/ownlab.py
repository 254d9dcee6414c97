"""The lab of a run: the one at hand, or a virtual one for the time of the run."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.cli.output import err
from farm.cli.phases import Phases
from farm.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from farm.cli.options import Options
    from farm.image.own import Own
    from farm.inventory import BoardType
    from farm.run.unfinished import OwnLab

LATER_TAGS = ("image_id", "hw_")
"""How tags begin whose values are known only once a virtual board is made."""


@dataclass(frozen=True, slots=True)
class RunLab:
    """A run's lab: its coordinator, and what it is made of where it is the run's own."""

    coordinator: str
    own: OwnLab | None = None


def with_all_cores(options: Options, types: Mapping[str, BoardType]) -> Options:
    """Ask for as many boards of an exact type as there are processors, in a lab of our own.

    They share the tests; more boards change no number, since these boards count no time.
    """
    from dataclasses import replace

    if options.coordinator:
        return options
    exact = {name for name in options.boards if name in types and types[name].exact}
    many = min(len(os.sched_getaffinity(0)), 8)
    more = [name for name in sorted(exact) for _ in range(many - options.boards.count(name))]
    return replace(options, boards=(*options.boards, *more))


@contextlib.contextmanager
def lab_of(
    options: Options, types: Mapping[str, BoardType], phases: Phases, *, logs: Path
) -> Iterator[RunLab]:
    """Give the lab at hand, or a virtual one for the time being.

    A virtual one leaves its logs in the folder ``logs``.
    """
    from farm.lab.placement import check_names

    if options.coordinator:
        yield RunLab(options.coordinator)
        return
    offered = sorted(name for name, board_type in types.items() if board_type.virtual)
    for word in options.boards:
        if word in types and word not in offered:
            raise UsageError(
                f"--board {word!r}: a board of hardware, and no lab is at hand",
                next_step="name the lab's labgrid coordinator: set LG_COORDINATOR, or give "
                "--coordinator",
            )
    check_names(options.boards, (), offered)
    wanted = dict(Counter(options.boards or unnamed_types(options, types)))
    with virtual_lab(wanted, options.image, options.own, types, phases, logs=logs) as lab:
        yield lab


@contextlib.contextmanager
def lab_again(
    described: OwnLab, types: Mapping[str, BoardType], phases: Phases, *, logs: Path
) -> Iterator[str]:
    """Bring up once more the virtual lab that a run had for itself; give its coordinator.

    Raises:
        UsageError: a file of the user's own is gone.
        InfraError: there is no such lab to be had.
    """
    from farm.image.own import read_own

    own = read_own(described.kernel, described.modules, described.drivers)
    with virtual_lab(described.boards, described.image, own, types, phases, logs=logs) as lab:
        yield lab.coordinator


@contextlib.contextmanager
def virtual_lab(
    wanted: Mapping[str, int],
    profile: str,
    own: Own,
    types: Mapping[str, BoardType],
    phases: Phases,
    *,
    logs: Path,
) -> Iterator[RunLab]:
    """Give a virtual lab with so many boards of each type for the time being."""
    from farm import image
    from farm.image.own import check_network
    from farm.inventory import load_image_profile
    from farm.lab import qemu, virtual
    from farm.run.unfinished import OwnLab

    check_configs(types, wanted)
    if not all(types[name].exact for name in wanted):  # those have no network
        check_network(own)
    say = err().print
    qemu.version()  # without QEMU, building an image is in vain
    with phases.phase("image"):
        for name in sorted({profile or types[name].image for name in wanted}):
            image.build(load_image_profile(name), own=own, progress=say)
    with contextlib.ExitStack() as stack:
        with phases.phase("lab"):
            lab = stack.enter_context(
                virtual.temporary(wanted, profile=profile, own=own, progress=say, logs=logs)
            )
        described = OwnLab(
            boards=dict(wanted),
            image=profile,
            kernel=own.kernel.path.absolute() if own.kernel else None,
            modules=own.modules.path.absolute() if own.modules else None,
            drivers=[driver.path.absolute() for driver in own.drivers],
        )
        yield RunLab(lab.coordinator, described)
        with phases.phase("lab"):
            stack.close()


def unnamed_types(options: Options, types: Mapping[str, BoardType]) -> list[str]:
    """Return the types of the boards to bring up where none is named.

    Raises:
        UsageError: no virtual board has what is asked for with --match.
    """
    from farm.lab.virtual import default_types

    offered = sorted(name for name, board_type in types.items() if board_type.virtual)
    return matching(options.match, options.image, types, default_types(types), offered)


def matching(
    match: Mapping[str, str],
    image: str,
    types: Mapping[str, BoardType],
    usual: Sequence[str],
    offered: Sequence[str],
) -> list[str]:
    """Return the types to bring up where none is named: the usual ones that --match leaves.

    Raises:
        UsageError: no virtual board would have such tags.
    """

    def may_match(name: str) -> bool:
        tags = {"board_type": name, "image": image or types[name].image, "virtual": "yes"}
        return all(
            tags.get(key) == value or key.startswith(LATER_TAGS) for key, value in match.items()
        )

    found = list(filter(may_match, usual)) or list(filter(may_match, offered))
    if not found:
        words = " ".join(f"{key}={value}" for key, value in match.items())
        raise UsageError(
            f"--match {words}: no virtual board is tagged so, and no lab is at hand",
            next_step="match board_type, image or virtual=yes; or name your lab's labgrid "
            "coordinator: set LG_COORDINATOR, or give --coordinator",
        )
    return found


def check_configs(types: Mapping[str, BoardType], names: Iterable[str]) -> None:
    """Find out before a board is touched that labgrid cannot use its config."""
    from farm.board.envfile import check_environment

    for name in sorted(names):
        check_environment(types[name].config)
