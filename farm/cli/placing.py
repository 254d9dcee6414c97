"""From what a command line asks for to places of a lab, and to jobs on them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from farm.cli.output import err, printable
from farm.cli.together import take_together
from farm.errors import FarmError, UsageError

if TYPE_CHECKING:
    from farm.cli.options import Options
    from farm.inventory import BoardType
    from farm.lab.place import Place
    from farm.lab.placement import Outlook, Request
    from farm.lab.wanted import Wanted
    from farm.run.job import JobSpec
    from farm.run.plan import Wish


@dataclass(frozen=True, slots=True)
class Placing:
    """How boards are to be had: with which features, for whom, before whom, all at once or not."""

    features: tuple[str, ...] = ()
    owner: str = ""
    priority: float = 0.0
    together: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """The lab's places by name, what was asked for of them, and what else is known of them."""

    coordinator: str
    places: Mapping[str, Place]
    request: Request
    outlook: Outlook


def offers(board_type: BoardType | None, profile: str) -> frozenset[str]:
    """Return the features that boards of a type declare with an image profile."""
    from farm.inventory import load_image_profile

    if board_type is None:
        return frozenset()
    try:
        return board_type.features | load_image_profile(profile).features
    except FarmError:
        return board_type.features


def survey(coordinator: str, options: Options, types: Mapping[str, BoardType]) -> Survey:
    """Look at a lab.

    Raises:
        LabError: no coordinator answers.
    """
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.health import HealthBook
    from farm.lab.lease import new_identity
    from farm.lab.placement import Outlook, Request
    from farm.lab.wanted import IMAGE_TAG, TYPE_TAG

    with Coordinator(coordinator, new_identity(local_host())) as lab:
        places = lab.places()
    book = HealthBook(lab.address)
    barred = {name: why for name in places if (why := book.quarantined(name))}
    offered = {}
    for name, place in places.items():
        board_type = types.get(place.tags.get(TYPE_TAG, ""))
        usual = options.image or (board_type.image if board_type else "")
        offered[name] = offers(board_type, place.tags.get(IMAGE_TAG) or usual)
    return Survey(
        lab.address,
        places,
        Request(
            boards=tuple(options.boards),
            match=options.match,
            may_wait=options.wait_s > 0,
            features=options.placing.features,
            image=options.image,
        ),
        Outlook(
            barred=barred,
            offline_since=book.offline_since({n: place.online for n, place in places.items()}),
            offers=offered,
            now=time.time(),
        ),
    )


def chosen_places(
    found: Survey, types: Mapping[str, BoardType], select: Mapping[str, Sequence[str]] | None
) -> list[Place]:
    """Return the places to take; ``select`` leaves board types out that have nothing to run.

    Raises:
        UsageError: what was asked for is no board, or none that can ever be.
        LabError: what was asked for is not to be had now.
    """
    from farm.lab.placement import choose
    from farm.lab.wanted import TYPE_TAG

    taken = choose(found.places.values(), types, found.request, found.outlook)
    return [place for place in taken if select is None or select.get(place.tags[TYPE_TAG])]


def alternatives(
    found: Survey, taken: Sequence[Place], types: Mapping[str, BoardType]
) -> dict[str, list[Place]]:
    """Return for each place taken by its type what would do as well, where one may wait.

    Which of them it will be shows when the first of them is free.
    """
    from farm.lab.placement import judge
    from farm.lab.wanted import TYPE_TAG

    if not found.request.may_wait:
        return {}
    judged = judge(found.places.values(), types, found.request, found.outlook)
    ready = [one.place for one in judged if one.ready(may_wait=True)]
    by_type = {
        place.name: [
            other
            for other in ready
            if other.tags[TYPE_TAG] == place.tags[TYPE_TAG]
            and other != place
            and other.name not in found.request.boards
        ]
        for place in taken
        if place.name not in found.request.boards and found.request.boards
    }
    return {name: others for name, others in by_type.items() if others}


def place(options: Options, types: Mapping[str, BoardType], wish: Wish) -> list[JobSpec]:
    """Choose places, and return their jobs; leases that dead runs have left are ended before.

    Raises:
        UsageError: what was asked for cannot be, on any board.
        InfraError: there is no lab, no image, or no board free.
    """
    from farm.cli.ownlab import check_configs
    from farm.lab.reconcile import end_dead_leases
    from farm.lab.wanted import TYPE_TAG
    from farm.run.plan import jobs

    def say(text: str) -> None:
        err().print(printable(text))

    for name in end_dead_leases(wish.coordinator, say=say):
        say(f"{name}: ended the lease of a dead run")
    found = survey(wish.coordinator, options, types)
    taken = chosen_places(found, types, wish.select)
    check_configs(types, {place.tags[TYPE_TAG] for place in taken})
    _check_images(taken)
    others = alternatives(found, taken, types)
    if options.placing.together:

        def pick() -> list[str]:
            again = survey(wish.coordinator, options, types)
            return [place.name for place in chosen_places(again, types, wish.select)]

        reserved = take_together(pick, options.placing, wish)
        wish = replace(wish, reserved=reserved)
        taken, others = [found.places[name] for name in reserved], {}
    kinds = {place.tags[TYPE_TAG] for place in taken}
    wish = replace(
        wish,
        expected_s=_expected_s(options.db, kinds),
        wanted={
            place.name: _wanted(place, options, types) for place in taken if place.name in others
        },
    )
    return jobs(taken, types, wish)


def _check_images(taken: Sequence[Place]) -> None:
    """Find out before a lease is taken that the image which a virtual board boots is gone.

    Raises:
        ImageError: it is not in the cache.
    """
    from farm import image

    for place in taken:
        if place.tags.get("virtual") == "yes" and (image_id := place.tags.get("image_id")):
            image.find(image_id)


def _wanted(place: Place, options: Options, types: Mapping[str, BoardType]) -> Wanted:
    """Return the rule for a place that any other of its type may stand in for."""
    from farm.inventory import load_image_profiles
    from farm.lab.wanted import TYPE_TAG, Wanted

    board_type = types[place.tags[TYPE_TAG]]
    wanted = set(options.placing.features)
    images: list[str] = [options.image] if options.image else []
    if wanted and not images:
        images = [one for one in load_image_profiles() if wanted <= offers(board_type, one)]
    return Wanted(
        board_type=board_type.name,
        match=dict(options.match),
        images=tuple(images),
        image=options.image or board_type.image,
        prefer=place.name,
    )


def _expected_s(db: str | None, kinds: Collection[str]) -> dict[str, float]:
    """Return how long boards of each type are held as a rule; a store that fails knows nothing."""
    from farm.store import open_store
    from farm.store.durations import held_s

    try:
        with open_store(db, make=False) as store:
            return {kind: held_s(store, kind) for kind in kinds}
    except FarmError:
        return {}


def check_features(words: Sequence[str], types: Mapping[str, BoardType]) -> tuple[str, ...]:
    """Return the features asked for, each of which some board type or image declares.

    Raises:
        UsageError: nobody declares one; names the nearest.
    """
    from farm.inventory import load_image_profiles
    from farm.yamlfile import nearest

    known = {name for one in types.values() for name in one.features}
    known |= {name for one in load_image_profiles().values() for name in one.features}
    for word in words:
        if word not in known:
            raise UsageError(
                f"--feature {word!r}: no board type and no image declares it{nearest(word, known)}",
                next_step="`farm boards --types --json` lists what board types declare",
            )
    return tuple(dict.fromkeys(words))


def check_owner(owner: str) -> str:
    """Return the owner, by default who is logged in.

    Raises:
        UsageError: the name would not do as a tag of a place.
    """
    from farm.lab.holding import OWNER
    from farm.lab.lease import local_user

    if owner and not OWNER.fullmatch(owner):
        raise UsageError(
            f"--owner {owner!r}: expected up to 64 letters, digits and . _ @ + -",
            next_step="for example: --owner codec-team",
        )
    return owner or local_user()


def with_featured_types(options: Options, types: Mapping[str, BoardType]) -> Options:
    """Ask for virtual boards that have the features, where the run brings up a lab of its own.

    Raises:
        UsageError: a type that was asked for lacks one, or no virtual board has them.
    """
    from farm.lab.virtual import default_types

    wanted = set(options.placing.features)
    if options.coordinator or not wanted:
        return options

    def lacking(name: str) -> set[str]:
        return wanted - offers(types[name], options.image or types[name].image)

    for name in options.boards:
        if name in types and (missing := lacking(name)):
            raise UsageError(f"board type {name} lacks {', '.join(sorted(missing))}")
    if options.boards:
        return options
    virtual = [name for name, one in types.items() if one.virtual is not None]
    found = [name for name in default_types(types) if not lacking(name)]
    found = found or [name for name in virtual if not lacking(name)][:1]
    if not found:
        raise UsageError(
            f"no virtual board has {', '.join(sorted(wanted))}, and no lab is at hand",
            next_step="choose another --image, or name your lab's labgrid coordinator: set "
            "LG_COORDINATOR, or give --coordinator",
        )
    return replace(options, boards=tuple(found))
