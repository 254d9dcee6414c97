"""``farm image``: images that virtual boards boot."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farm.cli.output import JsonFlag, add_row, out, print_json, table
from farm.cli.progress import steps

if TYPE_CHECKING:
    from farm.image import Image

_KERNEL_ROWS = ("linux-image-", "linux-source-", "kernel ")

_HEAD = ("profile", "kernel", "made of", "MB", "cached as")

app = typer.Typer(
    no_args_is_help=True,
    help="Images that virtual boards boot: Debian's kernel and a small user space.",
)


def describe(image: Image) -> dict[str, Any]:
    """Return an image as the JSON object that the commands print."""
    from farm.image import kernel

    built = kernel.of_image(image.packages)
    return {
        "id": image.id,
        "profile": image.profile,
        "kernel": image.kernel_release,
        "host_key": image.host_key,
        "folder": str(image.folder),
        "kernel_tree": str(built.tree) if built else None,
        "size": image.kernel.stat().st_size + image.initrd.stat().st_size,
        "packages": [asdict(row) for row in image.packages],
    }


@app.command()
def build(
    profile: Annotated[
        str, typer.Argument(metavar="[PROFILE]", help="A file of board-configs/images/.")
    ] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the Debian mirror for newer packages.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Build the image of a profile; what is in the cache is not built again.

    Without PROFILE, those that virtual board types boot unless told otherwise. debian:VERSION is
    one exact version of Debian's kernel. Packages come from the Debian mirror that this machine's
    own apt uses; a kernel from source needs a cross compiler (make setup-reference). No root
    rights needed. The caches are kept within FARM_CACHE_LIMIT (see: farm gc).
    """
    from farm import image, inventory
    from farm.image import housekeeping
    from farm.lab import virtual

    housekeeping.limit()  # a wrong one is told before the work, not after it
    if profile:
        profiles = [inventory.load_image_profile(profile)]
    else:
        used = {one.image for one in inventory.load_board_types().values() if one.virtual}
        profiles = [inventory.load_image_profile(name) for name in sorted(used)]
    with steps() as tell:
        images = [image.build(one, progress=tell, refresh=refresh) for one in profiles]
        housekeeping.trim(virtual.images_in_use() | {one.id for one in images})
    if as_json:
        print_json({"images": [describe(one) for one in images]})
    else:
        _show(images)


@app.command("list")
def list_images(as_json: JsonFlag = False) -> None:
    """List every image profile, and the image in the cache that it means at present.

    Then the other images in the cache: older ones, exact versions, kernels of your own.
    """
    from farm import image, inventory
    from farm.image.build import recipe
    from farm.image.cache import recall

    profiles = [one for one in inventory.load_image_profiles().values() if not one.installed]
    meant = {profile.name: recall(recipe(profile)) for profile in profiles}
    images = image.cached()
    if as_json:
        rows = [
            {
                "profile": profile.name,
                "description": profile.description,
                "image": made.id if (made := meant[profile.name]) else None,
            }
            for profile in profiles
        ]
        print_json({"images": [describe(one) for one in images], "profiles": rows})
        return
    listing = table(*_HEAD, "what")
    for profile in profiles:
        made = meant[profile.name]
        row = _row(made) if made else (profile.name, "", "", "", "no")
        add_row(listing, (*row, profile.description))
    known = {made.id for made in meant.values() if made}
    for one in images:
        if one.id not in known:
            add_row(listing, (*_row(one), ""))
    out().print(listing)


def _row(one: Image) -> tuple[str, ...]:
    size = (one.kernel.stat().st_size + one.initrd.stat().st_size) / 1e6
    first = next((row for row in one.packages if row.package.startswith(_KERNEL_ROWS)), None)
    source = f"{first.package} {first.version} (SHA-256 {first.sha256[:12]}…)" if first else ""
    return (one.profile, one.kernel_release, source, f"{size:.0f}", one.id)


def _show(images: list[Image]) -> None:
    from farm.image import kernel

    listing = table(*_HEAD)
    for one in images:
        add_row(listing, _row(one))
    out().print(listing)
    for one in images:
        if (built := kernel.of_image(one.packages)) is not None:
            out().print(f"modules for {built.release}: make -C {built.tree} M=…", soft_wrap=True)
