"""The image cache: finished images by content id, and which of them a profile means at present.

Below ``cache_dir()/images/``: one folder per image with its ``manifest.json``, and ``by-recipe/``
with one small file per recipe that holds the id of the image built from it last. An image appears
by rename, whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm import paths
from farm.errors import ImageError
from farm.model import ImageProvenance

MANIFEST = "manifest.json"
KERNEL = "kernel"
INITRD = "initrd"
CLIENT_KEY = "client_key"
DRAFT = ".draft-"
"""What the names of folders begin with that are still being filled."""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image.

    ``id`` is the hash of what went into it, keys apart; ``profile`` is the profile's name;
    ``client_key`` is the private key that logs in as root; ``host_key`` is the board's public key
    as ``ssh-ed25519 AAAA…``; ``packages`` tell what it was made of.
    """

    id: str
    profile: str
    kernel: Path
    initrd: Path
    client_key: Path
    host_key: str
    kernel_release: str
    packages: tuple[ImageProvenance, ...]
    folder: Path


class _PackageRow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    package: str
    version: str
    architecture: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_number: Literal[1] = Field(default=1, alias="schema")
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    profile: str
    kernel_release: str
    host_key: str
    packages: list[_PackageRow]
    sizes: dict[str, int] = {}
    """Bytes of files; what an older farm wrote has none."""


def images_dir() -> Path:
    """Return the folder of images."""
    folder = paths.cache_dir() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def packages_dir() -> Path:
    """Return the folder of fetched packages, each named by its SHA-256."""
    folder = paths.cache_dir() / "packages"
    folder.mkdir(exist_ok=True)
    return folder


def kernels_dir() -> Path:
    """Return the folder of kernels that were built here."""
    folder = paths.cache_dir() / "kernels"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(
    folder: Path, progress: Callable[[str], None], what: str, *, wait: bool = True
) -> Iterator[None]:
    """Hold the right to change a folder of the cache; who wants it too waits, and says so.

    ``what`` says what the holder does: "builds a kernel".

    Raises:
        BlockingIOError: another process holds it, and the caller will not ``wait``.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            progress(f"waiting for another process that {what}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def building(
    progress: Callable[[str], None] = lambda _: None,
) -> contextlib.AbstractContextManager[None]:
    """Hold the right to add images and packages."""
    return locked(images_dir(), progress, "builds an image")


def sweep() -> None:
    """Remove what killed builders left half-made; call it while :func:`building`."""
    for folder in (images_dir(), packages_dir()):
        sweep_drafts(folder)


def sweep_drafts(folder: Path, *, older_s: float = 0.0) -> None:
    """Remove half-made folders; call it with the folder :func:`locked`.

    Where nobody locks, let those be that may still grow: give an age in seconds.
    """
    for draft in folder.glob(f"{DRAFT}*"):
        with contextlib.suppress(OSError):
            if not older_s or time.time() - draft.stat().st_mtime > older_s:
                shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """Give a fresh folder below ``folder`` to fill; it is gone afterwards."""
    path = Path(tempfile.mkdtemp(dir=folder, prefix=DRAFT))
    try:
        yield path
    finally:
        drop(path)


def drop(path: Path) -> None:
    """Remove a folder; an interrupt meanwhile takes effect once it is gone."""
    try:
        shutil.rmtree(path, ignore_errors=True)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def discard(path: Path) -> None:
    """Remove a folder whole or not at all: it first gets a name that nobody looks for."""
    doomed = path.with_name(f"{DRAFT}{path.name}")
    with contextlib.suppress(OSError):
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def no_room(folder: Path, why: str) -> ImageError:
    """Return the error for a disk that is full, or will be."""
    return ImageError(
        f"not enough disk space below {folder}: {why}",
        next_step="free some space ('farm gc' drops what is not in use), or point XDG_CACHE_HOME "
        "at a larger disk",
    )


def touch(path: Path) -> None:
    """Note that something of the cache was used just now; what is used least goes first."""
    with contextlib.suppress(OSError):
        os.utime(path)


def write_manifest(folder: Path, image: Image) -> None:
    """Write an image's manifest into a folder that is still being filled."""
    content = {
        "schema": 1,
        "id": image.id,
        "profile": image.profile,
        "kernel_release": image.kernel_release,
        "host_key": image.host_key,
        "packages": [asdict(row) for row in image.packages],
        "sizes": {path.name: path.stat().st_size for path in (image.kernel, image.initrd)},
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def read(folder: Path) -> Image:
    """Return the image that a folder holds.

    Raises:
        ImageError: a file is missing or of another size, or the manifest is not ours.
    """
    again = f"remove {folder} and run 'farm image build' again"
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ImageError(
            f"{folder / MANIFEST} cannot be used: {reason}", next_step=again
        ) from error
    for name in (KERNEL, INITRD, CLIENT_KEY):
        path = folder / name
        size = path.stat().st_size if path.is_file() else 0
        if not size:
            raise ImageError(f"image {manifest.id} lacks its file {path}", next_step=again)
        if size != manifest.sizes.get(name, size):
            raise ImageError(
                f"{path} has {size} bytes, image {manifest.id} was made with "
                f"{manifest.sizes[name]}",
                next_step=again,
            )
    return Image(
        id=manifest.id,
        profile=manifest.profile,
        kernel=folder / KERNEL,
        initrd=folder / INITRD,
        client_key=folder / CLIENT_KEY,
        host_key=manifest.host_key,
        kernel_release=manifest.kernel_release,
        packages=tuple(ImageProvenance(**row.model_dump()) for row in manifest.packages),
        folder=folder,
    )


def add(temporary: Path, image_id: str) -> Image:
    """Move a filled folder into the cache and return its image; call it while :func:`building`.

    It takes the place of a damaged one.
    """
    folder = images_dir() / image_id
    if folder.is_dir():
        discard(folder)
    for path in temporary.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    temporary.rename(folder)
    return read(folder)


def _pointer(recipe: str) -> Path:
    folder = images_dir() / "by-recipe"
    folder.mkdir(exist_ok=True)
    return folder / recipe


def remember(recipe: str, image_id: str) -> None:
    """Make an image the one that a recipe means from now on."""
    pointer = _pointer(recipe)
    fresh = pointer.with_suffix(f".{os.getpid()}")
    fresh.write_text(image_id)
    fresh.replace(pointer)


def recall(recipe: str) -> Image | None:
    """Return the image that a recipe means at present, or nothing if it must be built."""
    try:
        pointer = _pointer(recipe)
        image = find(pointer.read_text().strip())
        touch(pointer)
        return image
    except (OSError, ImageError):
        return None


def find(image_id: str) -> Image:
    """Return a cached image by its id.

    Raises:
        ImageError: it is not in the cache, or damaged.
    """
    folder = images_dir() / image_id
    if "/" in image_id or not folder.is_dir() or not (folder / MANIFEST).exists():
        raise ImageError(
            f"image {image_id!r} is not in the cache {images_dir()}",
            next_step="list what is there with 'farm image list', or run 'farm image build'",
        )
    touch(folder / INITRD)
    return read(folder)


def cached() -> list[Image]:
    """Return every usable image in the cache, the newest first."""
    found: list[tuple[float, Image]] = []
    for manifest in images_dir().glob(f"*/{MANIFEST}"):
        with contextlib.suppress(ImageError, OSError):
            found.append((manifest.stat().st_mtime, read(manifest.parent)))
    return [image for _, image in sorted(found, key=lambda pair: pair[0], reverse=True)]
