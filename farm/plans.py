"""Nightly plans: what a night runs on which boards, for how long, and whom it tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from farm import paths
from farm.errors import UsageError
from farm.events import MAX_REPEAT, MAX_STRESS_S
from farm.lab.turn import MAX_PRIORITY
from farm.settling import MAX_REPEATS
from farm.yamlfile import YamlFile, nearest

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(s|min|h)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")


def seconds(text: Any) -> float:
    """Return a duration such as ``90min``, ``6h`` or ``30s`` in seconds.

    Raises:
        ValueError: it is none.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("expected a time with its unit, such as 30s, 90min or 6h")
    return float(match[1]) * _UNITS[match[2]]


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError("expected an e-mail address, such as lab@example.org")
    return text


def _url(text: str) -> str:
    if not re.match(r"https?://[^/\s]+", text):
        raise ValueError("expected an http:// or https:// URL")
    return text


Duration = Annotated[float, BeforeValidator(seconds)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Retry(_Part):
    """What is tried again: ``infra`` what was left open, ``new`` how often what fails anew.

    See :mod:`farm.run.followups`.
    """

    infra: bool = True
    new: int = Field(default=5, ge=0, le=MAX_REPEATS)


class Tell(_Part):
    """Whom to tell, by exactly one way.

    ``webhook_from`` is the environment variable that holds the URL, where it is a secret (Slack's
    is). ``command`` gets the morning report as JSON on its standard input. ``when`` is ``always``,
    or ``trouble``: only where the night did not exit 0.
    """

    mail: list[Annotated[str, AfterValidator(_address)]] = []
    webhook: Annotated[str, AfterValidator(_url)] | None = None
    webhook_from: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    command: list[Text] = []
    when: Literal["always", "trouble"] = "always"

    @model_validator(mode="after")
    def _one_way(self) -> Tell:
        ways = [self.mail, self.webhook, self.webhook_from, self.command]
        if sum(bool(way) for way in ways) != 1:
            raise ValueError("expected one of: mail, webhook, webhook_from, command")
        return self


class _PlanFile(_Part):
    description: Text
    boards: list[Text] = []
    match: dict[Text, Text] = {}
    features: list[Text] = []
    owner: str = ""
    priority: float = Field(default=0.0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)
    images: list[Text] = []
    suites: list[Text] = []
    requirements: list[Text] = []
    keyword: str = ""
    markers: str = ""
    repeat: int = Field(default=1, ge=1, le=MAX_REPEAT)
    stress_seconds: float = Field(default=2.0, gt=0.0, le=MAX_STRESS_S)
    time_box: Duration | None = Field(default=None, gt=0.0)
    wait: Duration = 0.0
    retry: Retry = Retry()
    tell: list[Tell] = []


class Plan(_PlanFile):
    """A nightly plan; times are seconds, ``time_box`` None where it has none.

    ``boards`` are names or board types as for ``farm run --board``, ``match`` tags that their
    places must have, ``features`` what they must declare; all empty is every free board. Each of
    ``images`` is a part of the night. ``owner`` and ``priority`` are those of ``farm run``.
    """

    name: str


class PlanSource:
    """A plan with the file that it stands in, for errors that say where."""

    def __init__(self, path: Path) -> None:
        """Read a plan.

        Raises:
            ConfigError: the file is wrong; the message starts with ``file:line:``.
        """
        self.file = YamlFile(path)
        content = self.file.validate(_PlanFile)
        if not _NAME.fullmatch(path.stem):
            raise self.file.error(
                (), f"a plan's file name is its name: letters, digits, _ . -, found {path.stem!r}"
            )
        self.plan = Plan.model_construct(name=path.stem, **dict(content))


def find_plan(word: str) -> Path:
    """Return the file of a plan: a path, or a name below ``reports/plans/``.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if "/" in word or word.endswith((".yaml", ".yml")):
        return Path(word)
    folder = paths.plans()
    path = folder / f"{word}.yaml"
    if not path.is_file():
        known = {one.stem for one in folder.glob("*.yaml")}
        raise UsageError(
            f"no plan {word!r} in {folder}{nearest(word, known)}",
            next_step=f"choose from: {', '.join(sorted(known))}"
            if known
            else "write one there; docs/nightly.md says how",
        )
    return path
