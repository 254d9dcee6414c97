"""From places and wishes to jobs: one job per chosen place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm import image
from farm.errors import ImageError, UsageError
from farm.events import Effort, ImageInfo, Package
from farm.inventory import BoardType, load_image_profile
from farm.lab.place import Place
from farm.lab.wanted import TYPE_TAG, Wanted
from farm.run.job import JobSpec, Reserved, draw_seed
from farm.run.unfinished import Claim, OwnLab

HARDWARE_TAG = "hw_"
"""Tags of a place that identify its hardware begin so (``hw_revision``, ``hw_emulator``)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What every job of a run is to do.

    ``select`` limits the tests by board type (None: all), and is the order in which they run;
    ``image`` is the profile that was asked for, or empty; ``until`` is when no further test is
    begun, in seconds since the epoch; ``plan`` names the nightly plan, ``part`` the part of it,
    where a run has several with jobs on the same boards. ``owner`` and ``priority`` say for whom
    and before whom boards are had, ``expected_s`` how many seconds boards of a type are held as a
    rule. By the name of a place, ``wanted`` are the rules of those that another place may stand in
    for, and ``reserved`` is who has those that are had already. ``own_lab`` is set where the run
    has a lab of its own; ``claim`` is where it is written down what the run owes, and ``asked`` the
    place there of what this is.
    """

    run: str
    coordinator: str
    folder: Path
    suites: Sequence[str]
    select: Mapping[str, Sequence[str]] | None = None
    image: str = ""
    wait_s: float = 0.0
    effort: Effort = field(default_factory=Effort)
    cached: bool = True
    until: float | None = None
    plan: str = ""
    part: str = ""
    argv: Sequence[str] = ()
    owner: str = ""
    priority: float = 0.0
    expected_s: Mapping[str, float] = field(default_factory=dict)
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    reserved: Mapping[str, Reserved] = field(default_factory=dict)
    own_lab: OwnLab | None = None
    claim: Claim | None = None
    asked: int = 0


def jobs(places: Sequence[Place], types: Mapping[str, BoardType], wish: Wish) -> list[JobSpec]:
    """Return the jobs of a run, one a place.

    Boards of one exact type give the same numbers, so they share the tests among them. Where the
    wish has no seed, all boards but the exact ones get the same new one.

    Raises:
        UsageError: a place boots another image than the one asked for.
    """
    sharing: dict[str, list[str]] = {}
    for place in places:
        if types[place.tags[TYPE_TAG]].exact:
            sharing.setdefault(place.tags[TYPE_TAG], []).append(place.name)
    found = []
    numbers: Counter[str] = Counter()
    drawn = {exact: draw_seed(exact=exact) for exact in (False, True)}
    for place in places:
        board_type = types[place.tags[TYPE_TAG]]
        alike = sharing.get(board_type.name, [place.name])
        own = {
            "shard": alike.index(place.name),
            "shards": len(alike),
            "effort": wish.effort.seeded(drawn[board_type.exact]),
        }
        name = place.name
        if place.name in wish.wanted:  # its board is known once one is leased
            numbers[board_type.name] += 1
            name = f"any-{board_type.name}-{numbers[board_type.name]}"
        found.append(_job(name, place, board_type, wish).model_copy(update=own))
    return found


def _job(name: str, place: Place, board_type: BoardType, wish: Wish) -> JobSpec:
    select = None
    if wish.select is not None:
        select = list(wish.select.get(board_type.name, ()))
    name = f"{name}.{wish.part}" if wish.part else name
    return JobSpec(
        run=wish.run,
        job=name,
        coordinator=wish.coordinator,
        board=place.name,
        board_type=board_type.name,
        config=board_type.config,
        image=image_of(place, board_type, wish.image),
        hardware=hardware(place.tags),
        suites=list(wish.suites),
        select=select,
        folder=wish.folder / name,
        wait_s=wish.wait_s,
        cached=wish.cached,
        until=wish.until,
        plan=wish.plan,
        argv=list(wish.argv),
        owner=wish.owner,
        priority=wish.priority,
        expected_s=wish.expected_s.get(board_type.name, 0.0),
        wanted=wish.wanted.get(place.name),
        reserved=wish.reserved.get(place.name),
    )


def hardware(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what identifies a place's hardware: ``hw_revision=1.2`` gives ``revision: 1.2``."""
    return {
        key.removeprefix(HARDWARE_TAG): value
        for key, value in sorted(tags.items())
        if key.startswith(HARDWARE_TAG) and key != HARDWARE_TAG
    }


def image_of(place: Place, board_type: BoardType, wanted: str) -> ImageInfo:
    """Return which image a place boots; what it was made of, where the image is ours.

    Raises:
        UsageError: the place boots another image than ``wanted``, or one that no file describes.
    """
    profile = place.tags.get("image") or wanted or board_type.image
    if wanted and profile != wanted:
        raise UsageError(
            f"board {place.name} boots image {profile}, not {wanted}",
            next_step="start a lab with that image: farm lab up --image " + wanted,
        )
    return image_info(profile, place.tags)


def image_info(profile: str, tags: Mapping[str, str]) -> ImageInfo:
    """Return which image a place with these tags boots; ``profile`` is the image profile.

    Raises:
        UsageError: no file describes the profile.
    """
    load_image_profile(profile)
    image_id = tags.get("image_id", "")
    if not image_id:
        return ImageInfo(profile=profile)
    try:
        found = image.find(image_id)
    except ImageError:  # made elsewhere, or gone since
        return ImageInfo(profile=profile, id=image_id)
    return ImageInfo(
        profile=profile,
        id=image_id,
        packages=[
            Package(
                package=row.package,
                version=row.version,
                architecture=row.architecture,
                sha256=row.sha256,
            )
            for row in found.packages
        ],
    )
