"""Which lab a command works on."""

from __future__ import annotations

import os
from typing import Annotated

import typer

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
    ``farm lab up`` started.
    """
    if coordinator:
        return coordinator
    from farm.lab import virtual

    named = os.environ.get("FARM_LAB", "")
    if named:
        return virtual.environment(named)["LG_COORDINATOR"]
    lab = virtual.status()
    return lab.coordinator if lab is not None and lab.is_up else ""


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
