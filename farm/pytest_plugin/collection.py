"""Collection: parameters from what the board declares, and each item's key.

Nothing here boots a board: what never ran could not be counted as MISS otherwise.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from farm.errors import UsageError
from farm.model import Device, TestKey
from farm.pytest_plugin.selectors import Selector, describe, select
from farm.pytest_plugin.settings import Settings

SUITE_FILE = "suite.toml"
"""What makes a folder a suite."""
NO_DEVICE = "none"
"""Parameter id of the one skipped row of an axis on which the board declares nothing."""


def parametrise(metafunc: pytest.Metafunc, settings: Settings | None) -> None:
    """Spread a test over the axes of its ``over`` markers."""
    for marker in metafunc.definition.iter_markers("over"):
        for axis, selector in marker.kwargs.items():
            metafunc.parametrize(axis, _rows(metafunc, axis, selector, settings))


def _rows(
    metafunc: pytest.Metafunc, axis: str, selector: Selector, settings: Settings | None
) -> list[object]:
    if settings is None:
        return [_skipped("no board: give --lg-env board-configs/<board type>.yaml")]
    try:
        chosen = select(selector, settings.devices)
    except UsageError as error:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: {axis}: {error}") from error
    if not chosen:
        return [
            _skipped(
                f"{settings.board_type.name} with {settings.profile.name} declares no "
                f"{describe(selector)}"
            )
        ]
    return [pytest.param(device, id=device.id) for device in chosen]


def _skipped(reason: str) -> object:
    return pytest.param(None, id=NO_DEVICE, marks=pytest.mark.skip(reason=reason))


def nodeid_of(item: pytest.Item) -> str:
    """Return an item's id as journals keep it: relative to the folder that its suite lies in.

    pytest's own is relative to a root folder that changes with the command line.
    """
    rest = item.nodeid.partition("::")[2]
    for folder in item.path.parents:
        if (folder / SUITE_FILE).is_file():
            return f"{item.path.relative_to(folder.parent).as_posix()}::{rest}"
    return item.nodeid


def key_of(item: pytest.Item) -> TestKey:
    """Return the key under which an item's results are kept."""
    callspec = getattr(item, "callspec", None)
    params = {name: _text(value) for name, value in (callspec.params if callspec else {}).items()}
    case = item.get_closest_marker("case")
    requirements = [
        str(name) for marker in item.iter_markers("requirement") for name in marker.args
    ]
    nodeid = nodeid_of(item)
    return TestKey(
        nodeid=nodeid,
        suite=PurePosixPath(nodeid.partition("::")[0]).parts[0],
        test=getattr(item, "originalname", None) or item.name,
        case=str(case.args[0]) if case is not None and case.args else "",
        params=params,
        requirements=tuple(dict.fromkeys(reversed(requirements))),
    )


def _text(value: object) -> str:
    if isinstance(value, Device):
        return value.id
    return NO_DEVICE if value is None else str(value)
