"""Collection: parameters from what the board declares, and each item's key.

Nothing here boots a board: what never ran could not be counted as MISS otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import pytest

from farm import paths
from farm.board import payload
from farm.declarations import FEATURES
from farm.errors import FarmError, UsageError
from farm.model import Device, TestKey
from farm.pytest_plugin.selectors import Selector, describe, select
from farm.pytest_plugin.settings import Settings, usage_error
from farm.requirements import check_known, load_requirements
from farm.suites import FILE_NAME, load_suite
from farm.yamlfile import nearest

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


def skip_undeclared(items: list[pytest.Item], settings: Settings) -> None:
    """Skip what needs features that neither board type nor image profile declares."""
    declared = settings.board_type.features | settings.profile.features
    for item in items:
        lacking = [name for name in features_of(item) if name not in declared]
        if lacking:
            said = (
                f"{settings.board_type.name} with {settings.profile.name} declares no "
                f"{' and no '.join(lacking)}"
            )
            item.add_marker(pytest.mark.skip(reason=said))


def features_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the features that an item needs.

    Raises:
        pytest.UsageError: one of them is none; names the nearest.
    """
    names = [str(name) for marker in item.iter_markers("declared") for name in marker.args]
    for name in names:
        if name not in FEATURES:
            raise pytest.UsageError(
                f"{item.nodeid}: no feature {name!r}{nearest(name, set(FEATURES))}"
            )
    return tuple(names)


def _skipped(reason: str) -> object:
    return pytest.param(None, id=NO_DEVICE, marks=pytest.mark.skip(reason=reason))


def check_suites(items: list[pytest.Item]) -> None:
    """Make sure that each item's suite says what it is, and that its markers name what there is.

    Raises:
        pytest.UsageError: a suite's file is wrong, two cases have one name, or a marker names an
            unknown case or requirement; starts with ``file:line:``.
    """
    files = dict.fromkeys(item.path for item in items)
    folders = dict.fromkeys(filter(None, map(_suite_folder, files)))
    if not folders:
        return
    own = paths.testsuites().resolve()
    others = [one for one in folders if one.resolve().parent != own]
    try:
        for folder in folders:
            load_suite(folder / FILE_NAME)
        known = {
            "case": set(payload.needs_of_cases(others)),
            "requirement": set(load_requirements()),
        }
    except FarmError as error:
        raise usage_error(error) from error
    for item in items:
        if _suite_folder(item.path) is not None:
            _check_markers(item, known)


def _check_markers(item: pytest.Item, known: Mapping[str, Collection[str]]) -> None:
    for kind, names in known.items():
        for name in (str(one) for mark in item.iter_markers(kind) for one in mark.args):
            if name not in names:
                line = (item.location[1] or 0) + 1
                raise pytest.UsageError(
                    f"{item.path}:{line}: no {kind} {name!r}{nearest(name, set(names))}"
                )


def needs_of(item: pytest.Item, cases: Mapping[str, str]) -> tuple[str, ...]:
    """Return what an item needs of its board: features, and ``smp`` where one of its cases does."""
    named = {str(name) for mark in item.iter_markers("case") for name in mark.args}
    needs = {cases.get(name, "") for name in named} - {""}
    return (*features_of(item), *sorted(needs))


def leave_out_full(config: pytest.Config) -> None:
    """Leave out tests that are marked ``full``, unless markers or a test's own name ask for them.

    ``testsuites/pytest.ini`` says so, too, which is not read where pytest runs in another folder.
    """
    words = config.invocation_params.args
    asked = any(word.startswith("-m") or "::" in word for word in map(str, words))
    if not (asked or config.option.markexpr or config.getoption("farm_select")):
        config.option.markexpr = "not full"


def only_for(items: list[pytest.Item], wanted: Collection[str]) -> list[pytest.Item]:
    """Return the items that are evidence for one of the requirements.

    Raises:
        pytest.UsageError: a requirement is unknown; names the nearest.
    """
    try:
        check_known(wanted, load_requirements())
    except FarmError as error:
        raise usage_error(error) from error
    return [item for item in items if not set(requirements_of(item)).isdisjoint(wanted)]


def keep(config: pytest.Config, items: list[pytest.Item], kept: list[pytest.Item]) -> None:
    """Leave only ``kept`` of the items, in its order, and tell pytest what was dropped."""
    mine = set(map(id, kept))
    if dropped := [one for one in items if id(one) not in mine]:
        config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def requirements_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the ids of the requirements that an item is evidence for, each once."""
    found = [str(name) for marker in item.iter_markers("requirement") for name in marker.args]
    return tuple(dict.fromkeys(reversed(found)))


def nodeid_of(item: pytest.Item) -> str:
    """Return an item's id as journals keep it: relative to the folder that its suite lies in.

    pytest's own is relative to a root folder that changes with the command line.
    """
    rest = item.nodeid.partition("::")[2]
    folder = _suite_folder(item.path)
    if folder is None:
        return item.nodeid
    return f"{item.path.relative_to(folder.parent).as_posix()}::{rest}"


def _suite_folder(path: Path) -> Path | None:
    return next((one for one in path.parents if (one / FILE_NAME).is_file()), None)


def key_of(item: pytest.Item) -> TestKey:
    """Return the key under which an item's results are kept."""
    callspec = getattr(item, "callspec", None)
    params = {name: _text(value) for name, value in (callspec.params if callspec else {}).items()}
    case = item.get_closest_marker("case")
    nodeid = nodeid_of(item)
    return TestKey(
        nodeid=nodeid,
        suite=PurePosixPath(nodeid.partition("::")[0]).parts[0],
        test=getattr(item, "originalname", None) or item.name,
        case=str(case.args[0]) if case is not None and case.args else "",
        params=params,
        requirements=requirements_of(item),
    )


def _text(value: object) -> str:
    if isinstance(value, Device):
        return value.id
    return NO_DEVICE if value is None else str(value)
