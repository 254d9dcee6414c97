"""What can be known to be wrong with a nightly plan before the night begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.cli.telling import Smtp, channel_of
from farm.errors import ConfigError, UsageError
from farm.yamlfile import nearest

if TYPE_CHECKING:
    from farm.cli.placing import Placing
    from farm.inventory import BoardType
    from farm.lab.place import Place
    from farm.notify import Channel
    from farm.plans import Plan, PlanSource


@dataclass(frozen=True, slots=True)
class Teller:
    """A way to tell somebody, and when."""

    channel: Channel
    when: str


def check_names(source: PlanSource) -> list[str]:
    """Return the suites of a plan, as paths; find every name that is none.

    Raises:
        ConfigError: a suite, requirement or image is unknown; says where, and the nearest.
        UsageError: two cases of the suites have one name; says where.
    """
    from farm.board.payload import needs_of_cases
    from farm.profiles import load_image_profiles
    from farm.requirements import load_requirements
    from farm.run.selection import choose_suites

    needs_of_cases()  # no two have one name
    plan = source.plan
    suites = []
    for number, word in enumerate(plan.suites):
        try:
            suites += choose_suites([word])
        except ConfigError:
            raise
        except UsageError as error:
            at = ("suites", number)
            raise source.file.error(at, error.message, next_step=error.next_step) from error
    for key, what, words, known in (
        ("requirements", "requirement", plan.requirements, set(load_requirements())),
        ("images", "image profile", plan.images, set(load_image_profiles())),
    ):
        for number, word in enumerate(words):
            if word not in known:
                raise source.file.error((key, number), f"no {what} {word!r}{nearest(word, known)}")
    return suites or choose_suites([])


def check_placing(source: PlanSource, types: Mapping[str, BoardType]) -> Placing:
    """Return with which features, for whom and before whom a plan has its boards.

    Raises:
        ConfigError: nobody declares a feature, or the owner's name would not do; says where.
    """
    from farm.cli.placing import Placing, check_features, check_owner

    plan = source.plan
    at: tuple[str | int, ...] = ("features",)
    try:
        features = check_features(plan.features, types)
        at = ("owner",)
        return Placing(features, check_owner(plan.owner), plan.priority)
    except UsageError as error:
        raise source.file.error(at, error.message, next_step=error.next_step) from error


def check_boards(source: PlanSource, address: str, types: Mapping[str, BoardType]) -> None:
    """Make sure that boards of the lab could ever do what a plan asks for, free or not.

    Without a lab, those count that could be brought up.

    Raises:
        ConfigError: none could; says where in the plan, and what there is.
        LabError: the lab does not answer.
    """
    if not address:
        _check_virtual(source, types)
        return
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.lease import new_identity
    from farm.lab.placement import TYPE_TAG

    with Coordinator(address, new_identity(local_host())) as lab:
        places = [one for one in lab.places().values() if one.tags.get(TYPE_TAG) in types]
    _check_words(source, {one.name for one in places} | set(types))
    plan = source.plan
    lab_words = f"the lab at {address}"
    matching = [one for one in places if _meets(one.tags, plan.match)]
    if not matching:
        raise source.file.error(
            ("match",) if plan.match else (),
            f"no board of {lab_words} has {_words(plan.match)}, free or not"
            if plan.match
            else f"{lab_words} has no board of a known type",
            next_step=_tags_there_are(places, plan.match),
        )
    wanted = Counter(plan.boards)
    named = {one.name for one in places} & set(plan.boards)
    for number, word in enumerate(plan.boards):
        fitting = [one for one in matching if word in (one.name, one.tags[TYPE_TAG])]
        fitting = [one for one in fitting if one.name == word or one.name not in named]
        if len(fitting) < wanted[word]:
            has = f" with {_words(plan.match)}" if plan.match else ""
            has += " that the plan does not name besides" if word in types and named else ""
            raise source.file.error(
                ("boards", number),
                f"{lab_words} has {len(fitting)} of {word!r}{has}, the plan wants {wanted[word]}",
            )
    chosen = [
        one
        for one in matching
        if not plan.boards or one.name in plan.boards or one.tags[TYPE_TAG] in plan.boards
    ]
    for number, image in enumerate(plan.images):
        if not any(one.tags.get("image") == image for one in chosen):
            booted = sorted({one.tags.get("image", "what is on them") for one in chosen})
            raise source.file.error(
                ("images", number),
                f"no board of {lab_words} boots {image!r}; they boot {', '.join(booted)}",
                next_step=f"farm lab up --image {image} brings up virtual ones that do",
            )


def _check_virtual(source: PlanSource, types: Mapping[str, BoardType]) -> None:
    from farm.cli.ownlab import matching
    from farm.lab.virtual import default_types

    plan = source.plan
    _check_words(source, set(types))
    for number, word in enumerate(plan.boards):
        if not types[word].virtual:
            raise source.file.error(
                ("boards", number),
                f"{word!r} is a board of hardware, and no lab is at hand",
                next_step="name the lab's labgrid coordinator: set LG_COORDINATOR, or give "
                "--coordinator",
            )
    offered = sorted(name for name, one in types.items() if one.virtual)
    usual = plan.boards or default_types(types)
    for number, image in enumerate(plan.images or [""]):
        try:
            matching(plan.match, image, types, usual, plan.boards or offered)
        except UsageError as error:
            at = ("match",) if "image" not in plan.match or not image else ("images", number)
            raise source.file.error(at, error.message, next_step=error.next_step) from error


def _check_words(source: PlanSource, known: set[str]) -> None:
    for number, word in enumerate(source.plan.boards):
        if word not in known:
            raise source.file.error(
                ("boards", number),
                f"{word!r} is neither a board of this lab nor a board type{nearest(word, known)}",
                next_step=f"choose from: {', '.join(sorted(known))}",
            )


def tellers(plan: Plan, source: PlanSource, smtp: Smtp) -> list[Teller]:
    """Return whom a plan tells, each found able to be told as far as that can be known now.

    Raises:
        ConfigError: there is no mail server for a mail, no variable with a webhook's URL, or a
            command cannot be executed; says where in the plan.
    """
    found = []
    for number, tell in enumerate(plan.tell):
        try:
            found.append(Teller(channel_of(tell, smtp), tell.when))
        except UsageError as error:
            at = ("tell", number)
            raise source.file.error(at, error.message, next_step=error.next_step) from error
    return found


def _meets(tags: Mapping[str, str], match: Mapping[str, str]) -> bool:
    return all(tags.get(key) == value for key, value in match.items())


def _words(match: Mapping[str, str]) -> str:
    return " and ".join(f"{key}={value}" for key, value in match.items())


def _tags_there_are(places: Sequence[Place], match: Mapping[str, str]) -> str:
    """Say which values the lab's boards have for the tags that were asked for."""
    told = []
    for key in match:
        values = sorted({one.tags[key] for one in places if key in one.tags})
        told.append(f"{key} is {', '.join(values)}" if values else f"none has the tag {key}")
    return f"on its boards {'; '.join(told)}" if told else "see: farm boards"
