"""Which places a run takes: pure decisions over what the lab offers and what was asked for.

A request names boards (a place's name or a board type; a type asks for one board of it, named twice
for two) and conditions on tags. Without names it asks for every free place of the lab that meets
the conditions and whose board type is known.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from farm.errors import LabError, UsageError
from farm.lab.place import Place

TYPE_TAG = "board_type"
"""Tag of a place that names its board type."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: names of places or board types, and tags that must be equal.

    ``may_wait`` takes boards, too, that are online but held: their lease is waited for.
    """

    boards: tuple[str, ...] = ()
    match: Mapping[str, str] = field(default_factory=dict)
    may_wait: bool = False


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


def choose(places: Collection[Place], types: Collection[str], request: Request) -> list[Place]:
    """Return the places to take, each once, in the order asked for.

    Raises:
        UsageError: a name is neither a place of the lab nor a board type.
        LabError: what was asked for is not free; the message says who holds it.
    """
    known = sorted(
        (place for place in places if place.tags.get(TYPE_TAG) in types),
        key=lambda place: place.name,
    )
    if not request.boards:
        return _every_free(known, request)
    check_names(request.boards, [place.name for place in places], types)
    names = {place.name for place in places}
    chosen: list[Place] = []
    # Names first: a type must not take the place that a later word names.
    for word in (word for word in dict.fromkeys(request.boards) if word in names):
        chosen.extend(_one(word, [place for place in places if place.name == word], request, types))
    wanted = Counter(word for word in request.boards if word not in names)
    for word, count in wanted.items():
        candidates = [
            place for place in known if place.tags[TYPE_TAG] == word and place not in chosen
        ]
        matching = [place for place in candidates if _meets(place, request.match)]
        ready = _ready(matching, request)
        if len(ready) < count:
            held = sum(1 for place in chosen if place.tags.get(TYPE_TAG) == word)
            raise _refusal(f"board type {word}", matching, count, already=held)
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


def describe(place: Place) -> str:
    """Return in a few words why a place is not to be had, or ``free``."""
    if not place.online:
        return "offline"
    if place.holder:
        return f"held by {place.holder}"
    if place.reservation:
        return "reserved"
    return "free"


def _one(
    word: str, places: Sequence[Place], request: Request, types: Collection[str]
) -> Sequence[Place]:
    place = places[0]
    kind = place.tags.get(TYPE_TAG, "")
    if kind not in types:
        seen = f"is tagged {TYPE_TAG}={kind}" if kind else f"has no tag {TYPE_TAG}"
        raise UsageError(
            f"board {word} {seen}, which no file in board-configs/ describes",
            next_step=f"labgrid-client -p {word} set-tags {TYPE_TAG}=… with one of: "
            + ", ".join(sorted(types)),
        )
    if not _meets(place, request.match):
        raise UsageError(f"board {word} does not match {_words(request.match)}")
    if not _ready([place], request):
        raise _refusal(f"board {word}", [place], 1)
    return [place]


def _ready(places: Sequence[Place], request: Request) -> list[Place]:
    """Return the places to be had, free ones first."""
    online = [place for place in places if place.online and (place.free or request.may_wait)]
    return sorted(online, key=lambda place: not place.free)


def _every_free(known: Sequence[Place], request: Request) -> list[Place]:
    matching = [place for place in known if _meets(place, request.match)]
    ready = [place for place in matching if place.online and place.free]
    if not ready:
        wanted = _words(request.match) if request.match else "a known board type"
        raise _refusal(wanted, matching, 1)
    return ready


def _meets(place: Place, match: Mapping[str, str]) -> bool:
    return all(place.tags.get(key) == value for key, value in match.items())


def _words(match: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in match.items())


def _refusal(wanted: str, matching: Sequence[Place], count: int, *, already: int = 0) -> LabError:
    if not matching and not already:
        return LabError(
            f"no board for {wanted}: no board of this lab matches",
            next_step="list the lab's boards with: farm boards",
        )
    states = Counter(describe(place) for place in matching)
    parts = [f"{number} {state}" for state, number in sorted(states.items())]
    if already:
        parts.append(f"{already} asked for by name")
    total = len(matching) + already
    noun = "board matches" if total == 1 else "boards match"
    need = "" if count == 1 else f", {count} wanted"
    return LabError(
        f"no free board for {wanted}: {total} {noun}: {', '.join(parts)}{need}",
        next_step="wait for a holder to release, or ask for other boards; see: farm boards",
    )
