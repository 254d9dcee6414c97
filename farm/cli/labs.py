"""Which lab a command works on."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from farm.cli.output import err
from farm.errors import LabError

CoordinatorOption = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        envvar="LG_COORDINATOR",
        metavar="HOST[:PORT]",
        help="labgrid coordinator of the lab. Default: the virtual lab of `farm lab up`.",
        show_default=False,
    ),
]
"""The lab's coordinator; every command that talks to a lab takes it."""


def chosen_lab(coordinator: str | None) -> str:
    """Return the address of the coordinator to use, or nothing where no lab is at hand.

    The option (or LG_COORDINATOR) wins; then the virtual lab that FARM_LAB names; then the one that
    ``farm lab up`` started. An LG_COORDINATOR that ``farm lab env`` set for a lab that has ended
    since stands for the virtual labs that are up now.
    """
    from farm.lab import virtual

    named = os.environ.get("FARM_LAB", "")
    if coordinator and not (named and _is_left_over(coordinator)):
        return coordinator
    if named and not coordinator:
        return virtual.environment(named)["LG_COORDINATOR"]
    lab = virtual.status(named or virtual.DEFAULT_NAME)
    address = lab.coordinator if lab is not None and lab.is_up else ""
    if coordinator:
        now, tell = "it has ended", "unset LG_COORDINATOR FARM_LAB"
        if address:
            now, tell = f"it is at {address} now", f'eval "$(farm lab env --name {named})"'
        err().print(
            f"LG_COORDINATOR names virtual lab {named} as it was, and {now}; "
            f"tell this shell with: {tell}",
            soft_wrap=True,
            markup=False,
        )
    return address


def _is_left_over(coordinator: str) -> bool:
    """Return whether this is the LG_COORDINATOR of a virtual lab that is gone: nothing is there."""
    host, _, port = coordinator.rpartition(":")
    if coordinator != os.environ.get("LG_COORDINATOR") or host != "127.0.0.1":
        return False
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (ConnectionRefusedError, ValueError, OverflowError):
        return True
    except OSError:
        return False
    return False


def lab_address(coordinator: str | None) -> str:
    """Return the address of the coordinator to use.

    Raises:
        LabError: no lab is at hand.
    """
    address = chosen_lab(coordinator)
    if not address:
        raise LabError(
            "no lab: LG_COORDINATOR is not set and no virtual lab is up",
            next_step="start a virtual lab with: farm lab up",
        )
    return address
