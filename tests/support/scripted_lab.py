"""A machine whose virtual boards are scripts: QEMU is one, and the image is ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from racks import scripted_path

from farm import inventory
from farm.image import Image, build, cache
from farm.image.build import recipe
from farm.lab import files, virtual


def fake_image() -> Image:
    """Put an image into the cache that a scripted board boots as well as any."""
    profile = inventory.load_image_profile("debian-13")
    image_id = "0123456789abcdef"
    with cache.building():
        folder = cache.images_dir() / ".build-fake"
        folder.mkdir()
        for name in (cache.KERNEL, cache.INITRD, cache.CLIENT_KEY):
            (folder / name).write_bytes(b"scripted")
        made = Image(
            id=image_id, profile=profile.name, kernel=folder / cache.KERNEL,
            initrd=folder / cache.INITRD, client_key=folder / cache.CLIENT_KEY,
            host_key="ssh-ed25519 AAAA", kernel_release="0.0.0", packages=(), folder=folder,
        )  # fmt: skip
        cache.write_manifest(folder, made)
        cache.remember(recipe(profile), cache.add(folder, image_id).id)
    return build(profile)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose QEMU is a script and whose image is ready; every lab ends with the test."""
    for name in ("STATE", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("PATH", scripted_path(tmp_path / "bin"))
    fake_image()
    yield tmp_path
    for name in files.names():
        virtual.down(name)
