"""YAML files with positions: safe loading, and errors that name file, line and key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from farm.errors import ConfigError

MAX_BYTES = 1 << 20
"""Largest YAML file that is read, in bytes."""

Location = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """The safe loader, with labgrid's ``!template`` read as the plain string it stands for."""


def _template(loader: _Loader, node: yaml.Node) -> str:
    return str(loader.construct_scalar(node)) if isinstance(node, yaml.ScalarNode) else ""


_Loader.add_constructor("!template", _template)


class YamlFile:
    """One parsed YAML file: its data, and the line that each key stands on."""

    def __init__(self, path: Path) -> None:
        """Read and parse ``path``.

        Raises:
            ConfigError: unreadable, too large, not YAML, a key twice, or not a mapping at the top.
        """
        self.path = path
        self._lines: dict[Location, int] = {}
        try:
            text = path.read_bytes()[: MAX_BYTES + 1]
        except OSError as error:
            raise ConfigError(f"{path}:1: cannot be read: {error.strerror}") from error
        if len(text) > MAX_BYTES:
            raise ConfigError(f"{path}:1: larger than {MAX_BYTES} bytes")
        try:
            self.data = self._parse(_Loader(text))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}:1: not valid YAML: {error}") from error
        if not isinstance(self.data, dict):
            raise ConfigError(f"{path}:1: expected a mapping at the top, found {_kind(self.data)}")

    def _parse(self, loader: _Loader) -> Any:
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            self._index(node, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()

    def _index(self, node: yaml.Node, at: Location) -> None:
        self._lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"{self.path}:{line}: key '{name}' stands here twice")
                seen.add(name)
                self._lines[(*at, name)] = key.start_mark.line + 1
                self._index(value, (*at, name))
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                self._index(value, (*at, number))

    def line(self, at: Location) -> int:
        """Return the 1-based line of a location, or of its nearest parent that has one."""
        while at and at not in self._lines:
            at = at[:-1]
        return self._lines.get(at, 1)

    def error(self, at: Location, problem: str, *, next_step: str = "") -> ConfigError:
        """Return the error for ``problem`` at a location."""
        key = ".".join(str(part) for part in at)
        where = f"{self.path}:{self.line(at)}: "
        return ConfigError(where + (f"{key}: " if key else "") + problem, next_step=next_step)

    def validate(self, model: type[ModelT], *at: str) -> ModelT:
        """Return the part of the file at ``at`` as a pydantic model.

        Raises:
            ConfigError: the first thing wrong: file, line, key, seen, expected, nearest spelling.
        """
        part: Any = self.data
        for key in at:
            if not isinstance(part, Mapping) or key not in part:
                raise self.error(at, f"the key '{key}' is missing")
            part = part[key]
        try:
            return model.model_validate(part)
        except ValidationError as error:
            # A key that is unknown may be the missing one, misspelt.
            first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
            where = (*at, *(step for step in first["loc"]))
            raise self.error(where, _explain(dict(first), model)) from error


def nearest(word: str, known: list[str] | set[str] | frozenset[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to ``word``, or nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _explain(first: dict[str, Any], model: type[BaseModel]) -> str:
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    seen = first.get("input")
    last = str(first["loc"][-1]) if first["loc"] else ""
    if kind == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        return f"unknown key '{last}'{nearest(last, known)}; known: {', '.join(sorted(known))}"
    if kind == "missing":
        return f"the key '{last}' is missing"
    shown = repr(seen)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return f"{message[0].lower()}{message[1:]}, found {shown}"


def _fields_at(model: type[BaseModel], loc: Location) -> set[str]:
    """Return the field names of the (nested) model that a pydantic location points into."""
    current: type[BaseModel] = model
    for step in loc:
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            break
        current = inner
    return set(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _model_in(argument):
            return found
    return None


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
