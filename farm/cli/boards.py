"""``farm boards``: which boards the lab has, and what they are doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.labs import CoordinatorOption, lab_address
from farm.cli.output import JsonFlag, add_row, out, print_json, table
from farm.cli.placing import offers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from farm.inventory import BoardType
    from farm.lab.explain import Standing
    from farm.lab.health import Health
    from farm.lab.place import Place

app = typer.Typer()

_SHORT = 80
STYLES = {"free": "green", "offline": "dim", "unknown type": "red", "quarantined": "red"}


@app.command()
def boards(
    types_only: Annotated[
        bool,
        typer.Option("--types", help="List the board types of board-configs/ instead; no lab."),
    ] = False,
    coordinator: CoordinatorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the lab's boards: type, features, image, holder, state and what to beware of.

    The lab is the one of --coordinator or LG_COORDINATOR, else the virtual lab of `farm lab up`.

    Examples:

      farm lab up && farm boards

      LG_COORDINATOR=lab:20408 farm boards

      farm boards --types
    """
    from farm.inventory import load_board_types

    if types_only:
        _list_types(load_board_types(), as_json=as_json)
        return
    from farm.lab.coordinator import Coordinator, local_host
    from farm.lab.health import HealthBook
    from farm.lab.lease import new_identity

    types = load_board_types()
    with Coordinator(lab_address(coordinator), new_identity(local_host())) as lab:
        book = HealthBook(lab.address)
        places = lab.places()
        since = book.offline_since({name: place.online for name, place in places.items()})
        rows = [
            describe(place, types, book.of(name), since.get(name, 0.0))
            for name, place in places.items()
        ]
    if as_json:
        print_json({"coordinator": lab.address, "boards": rows})
        return
    listing = table("board", "type", "features", "kernel", "image", "holder", "state", "notes")
    for row in rows:
        cells = [row["board"], row["board_type"], " ".join(row["features"]), row["kernel"]]
        cells += [row["image"], row["holder"], row["state"], ", ".join(row["notes"])]
        add_row(listing, cells, styles={6: STYLES.get(row["state"], "yellow")})
    out().print(listing)


def _list_types(types: Mapping[str, BoardType], *, as_json: bool) -> None:
    if as_json:
        print_json({"board_types": [describe_type(one) for one in types.values()]})
        return
    listing = table("type", "what", "IOMMU", "devices", "image", "notes")
    for one in types.values():
        devices = " ".join(device.id for device in one.devices)
        cells = [one.name, one.description, one.iommu or "none", devices, one.image]
        add_row(listing, [*cells, one.untested], styles={5: "yellow"})
    out().print(listing)


def describe_type(one: BoardType) -> dict[str, Any]:
    """Return what a board config says about its hardware, with its sources."""
    return {
        "board_type": one.name,
        "description": one.description,
        "virtual": one.virtual is not None,
        "iommu": one.iommu,
        "image": one.image,
        "features": sorted(one.features),
        "devices": [
            {
                "id": device.id,
                "driver": device.driver,
                "address": device.address,
                "exports": device.exports,
                "imports": device.imports,
                "sources": list(device.sources),
            }
            for device in one.devices
        ],
        "untested": one.untested,
        "claims": [
            {"about": claim.about.value, "says": claim.says, "sources": list(claim.sources)}
            for claim in one.claims
        ],
    }


def describe(
    place: Place, types: Mapping[str, BoardType], health: Health, since: float = 0.0
) -> dict[str, Any]:
    """Return one board's row: what it is, what it is expected to run, who holds it, its health.

    ``since`` is since when it is offline, in seconds since the epoch.
    """
    from farm.lab.explain import standing
    from farm.lab.wanted import TYPE_TAG

    kind = place.tags.get(TYPE_TAG, "")
    board_type = types.get(kind)
    stands = standing(place, since=since)
    state = stands.state.value
    if board_type is None:
        state = "unknown type" if state == "free" else state
    if health.quarantined and state == "free":
        state = "quarantined"
    profile = place.tags.get("image") or (board_type.image if board_type else "")
    return {
        "board": place.name,
        "board_type": kind,
        "features": sorted(offers(board_type, profile)),
        "kernel": _kernel(place, profile),
        "image": profile,
        "holder": place.holder,
        "state": state,
        "notes": [*_doing(stands), *_notes(place, board_type, health)],
        "tags": dict(place.tags),
        "health": health.model_dump(exclude={"v", "place"}),
    }


def _doing(stands: Standing) -> list[str]:
    """Return what a lease of ours says of itself, or since when the board is offline."""
    if stands.since:
        return [stands.words(time.time()).removeprefix("offline ")]
    if stands.lease is None or not stands.lease.run:
        return []
    return [stands.words(time.time()).removeprefix("held by ")]


def _notes(place: Place, board_type: BoardType | None, health: Health) -> list[str]:
    """Return what one has to know before trusting the board: what it lacks, what nobody tried."""
    classes = [resource.cls for resource in place.resources]
    found = []
    if health.reason:
        reason = health.reason if len(health.reason) <= _SHORT else f"{health.reason[:_SHORT]}…"
        found.append(f"{reason} ({health.failures} failures)" if health.failures else reason)
    if classes and not any("Power" in cls for cls in classes):
        found.append("no power control")
    if classes and not any("Serial" in cls for cls in classes):
        found.append("no console")
    if board_type is not None and board_type.untested:
        found.append("config never run")
    return found


def _kernel(place: Place, profile: str) -> str:
    """Return the release of the image that the place boots, else the profile's package."""
    from farm import image
    from farm.errors import FarmError
    from farm.inventory import load_image_profile

    try:
        if image_id := place.tags.get("image_id"):
            return image.find(image_id).kernel_release
        return load_image_profile(profile).kernel
    except FarmError:
        return ""
