"""Checks the part of a board config that is labgrid's, before labgrid makes anything of it.

labgrid says no line and no nearest spelling, and says it only once a board is leased.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attr
from labgrid.factory import target_factory

from farm.yamlfile import Location, YamlFile, nearest

_MAIN = ("targets", "main")
_GIVEN_BY_LABGRID = {"target", "name"}
_READ_BY_LABGRID = {"cls", "name", "bindings"}


def check_environment(path: Path) -> None:
    """Check a board config's imports, and the drivers and resources of its target ``main``.

    Raises:
        ConfigError: a module, class or argument is unknown, missing, or of the wrong type; the
            message starts with ``file:line:``.
    """
    file = YamlFile(path)
    complete = _import(file)
    main: Any = file.data
    for depth, key in enumerate(_MAIN):
        main = main.get(key)
        if not isinstance(main, Mapping):
            raise file.error(_MAIN[: depth + 1], f"expected a mapping, found {main!r}")
    for kind, known in (
        ("resources", target_factory.resources),
        ("drivers", target_factory.drivers),
    ):
        for at, name, arguments in _entries(file, (*_MAIN, kind), main.get(kind, {})):
            cls = known.get(name)
            if cls is not None:
                _check_arguments(file, at, cls, arguments)
            elif complete:
                word = kind.removesuffix("s")
                raise file.error(
                    at, f"unknown {word} '{name}'{nearest(name, set(known))}",
                    next_step="labgrid's manual lists its own; a module of yours is named under "
                    "'imports'",
                )  # fmt: skip


def _import(file: YamlFile) -> bool:
    """Import what the config names; return whether that is all, so that every class is known.

    A file of the user's own is left to labgrid: imported twice it would register twice.
    """
    complete = True
    names = file.data.get("imports") or []
    if not isinstance(names, list):
        raise file.error(("imports",), f"expected a list of modules, found {names!r}")
    for number, name in enumerate(names):
        if str(name).endswith(".py"):
            complete = False
            continue
        try:
            importlib.import_module(str(name))
        except ImportError as error:
            raise file.error(("imports", number), f"cannot be imported: {error}") from error
    return complete


def _entries(
    file: YamlFile, at: Location, part: Any
) -> Iterator[tuple[Location, str, Mapping[str, Any]]]:
    """Give location, class and arguments of each entry, in any of labgrid's ways to write them."""
    if isinstance(part, Mapping):
        for key, arguments in part.items():
            yield _entry(file, (*at, str(key)), str(key), arguments)
        return
    if not isinstance(part, list):
        raise file.error(at, f"expected a mapping or a list, found {part!r}")
    for number, item in enumerate(part):
        if not isinstance(item, Mapping) or (len(item) != 1 and "cls" not in item):
            raise file.error((*at, number), "expected one class with its arguments")
        if "cls" in item:
            yield _entry(file, (*at, number), "", item)
        else:
            ((key, arguments),) = item.items()
            yield _entry(file, (*at, number, str(key)), str(key), arguments)


def _entry(
    file: YamlFile, at: Location, name: str, arguments: Any
) -> tuple[Location, str, Mapping[str, Any]]:
    if not isinstance(arguments, Mapping):
        raise file.error(at, f"expected arguments, at least {{}}, found {arguments!r}")
    return at, str(arguments.get("cls", name)), arguments


def _check_arguments(file: YamlFile, at: Location, cls: type, found: Mapping[str, Any]) -> None:
    fields = {
        field.name: field
        for field in attr.fields(cls)  # what labgrid registers is attrs'
        if field.init and not field.name.startswith("_") and field.name not in _GIVEN_BY_LABGRID
    }
    for key, value in found.items():
        if key in _READ_BY_LABGRID:
            continue
        field = fields.get(str(key))
        if field is None:
            raise file.error((*at, str(key)), f"unknown argument{nearest(str(key), set(fields))}")
        if (wrong := _wrong(field, value)) is not None:
            raise file.error((*at, str(key)), wrong)
    for name, field in fields.items():
        if field.default is attr.NOTHING and name not in found:
            raise file.error(at, f"the argument '{name}' is missing")


def _wrong(field: attr.Attribute[Any], value: Any) -> str | None:
    """Return what is wrong with a value, as far as attrs' own validator of types can tell."""
    kinds = getattr(field.validator, "type", None)  # only attrs' instance_of has it
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not all(isinstance(kind, type) for kind in kinds) or isinstance(value, kinds):
        return None
    names = " or ".join(kind.__name__ for kind in kinds)
    return f"expected {names}, found {value!r}"
