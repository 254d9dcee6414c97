"""Requirements: what a driver or a board must do, each with an id that tests carry as a marker."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from farm import paths
from farm.errors import UsageError
from farm.yamlfile import YamlFile, nearest

FILE_NAME = "requirements.yaml"
USUAL_PRIORITY = 2


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: its sentence, the suite that tests it, and the thread that argued it out.

    ``priority`` is 1 where a violation corrupts data, leaks or hangs, 3 where the requirement only
    has something measured or reported, else 2: the order in which a night that is short of time
    takes their tests.
    """

    id: str
    suite: str
    text: str
    source: str
    priority: int = USUAL_PRIORITY


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _RequirementFile(_Part):
    suite: str
    text: str = Field(min_length=1, pattern=r"\.$")
    priority: int = Field(default=USUAL_PRIORITY, ge=1, le=3)


class _File(_Part):
    sources: dict[str, Annotated[str, Field(min_length=1)]]
    requirements: dict[Annotated[str, Field(pattern=r"^[A-Z]{3}-[1-9]\d{0,2}$")], _RequirementFile]


def load_requirements(path: Path | None = None) -> dict[str, Requirement]:
    """Return all requirements by id, in the file's order.

    Args:
        path: the file; by default ``testsuites/requirements.yaml`` of the project.

    Raises:
        ConfigError: the file is wrong; the message starts with ``file:line:``.
    """
    file = YamlFile(path or paths.testsuites() / FILE_NAME)
    content = file.validate(_File)
    for name, entry in content.requirements.items():
        if entry.suite not in content.sources:
            raise file.error(
                ("requirements", name, "suite"),
                f"suite '{entry.suite}' has no source{nearest(entry.suite, set(content.sources))}",
            )
    return {
        name: Requirement(
            name, entry.suite, entry.text, content.sources[entry.suite], entry.priority
        )
        for name, entry in content.requirements.items()
    }


def check_known(wanted: Iterable[str], known: Collection[str]) -> None:
    """Make sure that each id is one of ``known``.

    Raises:
        UsageError: one is not; names the nearest.
    """
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"no requirement {name!r}{nearest(name.upper(), set(known))}",
                next_step="`farm requirements` lists them all",
            )
