"""Which places a run takes: pure decisions over what the lab offers and what was asked for.

A request names boards (a place's name or a board type; a type asks for one board of it, named twice
for two) and conditions on tags and features. Without names it asks for every free place of the lab
that meets the conditions and whose board type is known.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from farm.errors import LabError, UsageError
from farm.lab.explain import Standing, State, standing, summary
from farm.lab.place import Place
from farm.lab.wanted import IMAGE_TAG, TYPE_TAG

__all__ = [
    "TYPE_TAG",
    "Judged",
    "Outlook",
    "Request",
    "check_names",
    "choose",
    "judge",
    "parse_match",
]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: places or board types, tags that must be equal, features to be had.

    ``may_wait`` takes boards, too, that are online but held: their lease is waited for. ``image``
    is the profile that boards are to boot, empty if any will do.
    """

    boards: tuple[str, ...] = ()
    match: Mapping[str, str] = field(default_factory=dict)
    may_wait: bool = False
    features: tuple[str, ...] = ()
    image: str = ""

    def __str__(self) -> str:
        """Say the conditions in a few words; empty where there are none."""
        words = [f"{key}={value}" for key, value in self.match.items()]
        words += [f"feature {name}" for name in self.features]
        return ", ".join([*words, *([f"image {self.image}"] if self.image else [])])


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the places beyond what their coordinator tells, by their names.

    ``barred`` is why nobody is to get one, ``offline_since`` since when one is, in seconds since
    the epoch like ``now``; ``offers`` are the features that board type and image declare.
    """

    barred: Mapping[str, str] = field(default_factory=dict)
    offline_since: Mapping[str, float] = field(default_factory=dict)
    offers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A place with what keeps it from being taken; ``mismatch`` is why it will not do, or empty."""

    standing: Standing
    mismatch: str = ""

    @property
    def place(self) -> Place:
        """The place."""
        return self.standing.place

    def ready(self, *, may_wait: bool) -> bool:
        """Tell whether the place is to be had, now or later."""
        later = (State.HELD, State.RESERVED) if may_wait else ()
        return not self.mismatch and self.standing.state in (State.FREE, *later)


MAX_TOLD = 3
"""Boards that do not match of which a refusal says why."""

NOTHING_KNOWN = Outlook()


def parse_match(words: Sequence[str]) -> dict[str, str]:
    """Return ``key=value`` words as a mapping.

    Raises:
        UsageError: a word has no ``=``, no key or no value, or contradicts an earlier one.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"--match {word!r}: expected key=value",
                next_step="for example: --match board_type=virt-smmuv3",
            )
        if found.setdefault(key, value) != value:
            raise UsageError(f"--match {key}: asked for both {found[key]!r} and {value!r}")
    return found


def judge(
    places: Collection[Place], types: Collection[str], request: Request, outlook: Outlook
) -> list[Judged]:
    """Return every place with what it is for this request, by name."""
    return [
        Judged(
            standing(
                place,
                barred=outlook.barred.get(place.name),
                since=outlook.offline_since.get(place.name, 0.0),
            ),
            _mismatch(place, types, request, outlook),
        )
        for place in sorted(places, key=lambda place: place.name)
    ]


def choose(
    places: Collection[Place],
    types: Collection[str],
    request: Request,
    outlook: Outlook = NOTHING_KNOWN,
) -> list[Place]:
    """Return the places to take, each once, in the order asked for.

    Raises:
        UsageError: a name is neither a place of the lab nor a board type.
        LabError: what was asked for is not free; the message says who holds it.
    """
    judged = judge(places, types, request, outlook)
    if not request.boards:
        return _every_free(judged, types, request, outlook)
    check_names(request.boards, [place.name for place in places], types)
    by_name = {one.place.name: one for one in judged}
    chosen: list[Place] = []
    # Names first: a type must not take the place that a later word names.
    for word in (word for word in dict.fromkeys(request.boards) if word in by_name):
        chosen.append(_named(by_name[word], types, request, outlook))
    wanted = Counter(word for word in request.boards if word not in by_name)
    for word, count in wanted.items():
        of_type = [one for one in judged if one.place.tags.get(TYPE_TAG) == word]
        matching = [one for one in of_type if not one.mismatch and one.place not in chosen]
        ready = _ready(matching, request, outlook)
        if len(ready) < count:
            held = sum(1 for place in chosen if place.tags.get(TYPE_TAG) == word)
            if of_type and not matching and not held:
                raise _no_match(f"board type {word}", of_type, request)
            what = ", ".join(filter(None, [f"board type {word}", str(request)]))
            raise _refusal(what, matching, outlook, count, already=held)
        chosen.extend(ready[:count])
    order = {word: index for index, word in reversed(list(enumerate(request.boards)))}
    return sorted(
        chosen,
        key=lambda place: order.get(place.name, order.get(place.tags.get(TYPE_TAG, ""), 0)),
    )


def check_names(boards: Sequence[str], places: Collection[str], types: Collection[str]) -> None:
    """Check that every name is a place or a board type.

    Raises:
        UsageError: one is neither; names the nearest.
    """
    candidates = sorted({*places, *types})
    for word in boards:
        if word not in candidates:
            close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise UsageError(
                f"--board {word!r}: neither a board of this lab nor a board type{hint}",
                next_step=f"choose from: {', '.join(candidates) or 'nothing, the lab is empty'}",
            )


def _mismatch(place: Place, types: Collection[str], request: Request, outlook: Outlook) -> str:
    kind = place.tags.get(TYPE_TAG, "")
    if kind not in types:
        seen = f"is tagged {TYPE_TAG}={kind}" if kind else f"has no tag {TYPE_TAG}"
        return f"{seen}, which no file in board-configs/ describes"
    for key, value in request.match.items():
        if place.tags.get(key) != value:
            return f"does not match {key}={value}"
    offers = outlook.offers.get(place.name, frozenset())
    if lacking := [name for name in request.features if name not in offers]:
        return f"lacks {', '.join(lacking)}"
    if request.image and place.tags.get(IMAGE_TAG, request.image) != request.image:
        return f"boots image {place.tags[IMAGE_TAG]}, not {request.image}"
    return ""


def _named(one: Judged, types: Collection[str], request: Request, outlook: Outlook) -> Place:
    place = one.place
    if place.tags.get(TYPE_TAG) not in types:
        raise UsageError(
            f"board {place.name} {one.mismatch}",
            next_step=f"labgrid-client -p {place.name} set-tags {TYPE_TAG}=… with one of: "
            + ", ".join(sorted(types)),
        )
    if one.mismatch:
        raise _no_match(f"board {place.name}", [one], request)
    if not one.ready(may_wait=request.may_wait):
        words = one.standing.words(outlook.now)
        raise LabError(f"board {place.name} is {words}", next_step=_next_step([one.standing]))
    return place


def _ready(judged: Sequence[Judged], request: Request, outlook: Outlook) -> list[Place]:
    """Return the places to be had: free ones first, then those that are so soonest."""

    def rank(one: Judged) -> tuple[bool, float]:
        lease = one.standing.lease
        left = lease.left_s(outlook.now) if lease is not None else None
        return (not one.place.free, float("inf") if left is None else left)

    found = [one for one in judged if one.ready(may_wait=request.may_wait)]
    return [one.place for one in sorted(found, key=rank)]


def _every_free(
    judged: Sequence[Judged], types: Collection[str], request: Request, outlook: Outlook
) -> list[Place]:
    matching = [one for one in judged if not one.mismatch]
    known = [one for one in judged if one.place.tags.get(TYPE_TAG) in types]
    if known and not matching:
        raise _no_match("a known board type", known, request)
    ready = [one.place for one in matching if one.ready(may_wait=False)]
    if not ready:
        raise _refusal(str(request) or "a known board type", matching, outlook, 1)
    return ready


def _no_match(wanted: str, misses: Sequence[Judged], request: Request) -> UsageError:
    """Say that no board can ever satisfy the request's conditions, and why not."""
    told = [f"board {one.place.name} {one.mismatch}" for one in misses[:MAX_TOLD]]
    more = f", and {len(misses) - MAX_TOLD} more" if len(misses) > MAX_TOLD else ""
    next_step = "list the lab's boards, their features and tags with: farm boards --json"
    if all("boots image" in one.mismatch for one in misses):
        next_step = f"start a lab with that image: farm lab up --image {request.image}"
    alone = len(misses) == 1 and told[0].startswith(wanted)
    start = "" if alone else f"no board for {wanted}, {request}: "
    return UsageError(f"{start}{', '.join(told)}{more}", next_step=next_step)


def _refusal(
    wanted: str, matching: Sequence[Judged], outlook: Outlook, count: int, *, already: int = 0
) -> LabError:
    found = [one.standing for one in matching]
    if not found and not already:
        return LabError(
            f"no board for {wanted}: no board of this lab matches",
            next_step="list the lab's boards with: farm boards",
        )
    told = summary(found, outlook.now) if found else "no other board matches"
    named = f", {already} asked for by name" if already else ""
    need = "" if count == 1 else f", {count} wanted"
    return LabError(f"no free board for {wanted}: {told}{named}{need}", next_step=_next_step(found))


def _next_step(found: Sequence[Standing]) -> str:
    """Return what to do where none of these places is to be had."""
    quarantined = [one.place.name for one in found if one.state is State.QUARANTINED]
    other = "ask for other boards"
    if found and all(one.state is State.OFFLINE for one in found):
        other = f"start the exporter of {found[0].place.name}, or {other}"
    if quarantined:
        other = f"look at it with: farm board check {quarantined[0]}; or {other}"
    if any(one.state in (State.HELD, State.RESERVED) for one in found):
        return "wait for one with --wait SECONDS, or ask for others; see: farm boards"
    return f"{other}; see: farm boards"
