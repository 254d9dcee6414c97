"""The image cache, keys, and the host's apt sources."""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st

from farm import image, inventory
from farm.errors import ImageError
from farm.image import apt, cache, keys, sources
from farm.image.build import recipe
from farm.model import ImageProvenance

DEB822 = """\
# the main archive
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://other.example/tools
Suites: nodistro
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie
Components: main
"""

LIST = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main non-free # note
nonsense
"""


def test_deb822_sources() -> None:
    found = list(sources.parse_deb822(DEB822))
    assert [(s.uri, s.suite) for s in found] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://other.example/tools", "nodistro"),
    ]
    assert found[0].components == ("main", "contrib")
    assert found[0].signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert found[2].signed_by == ""
    assert sources.debian_mirror(found) == "http://mirror.example/debian"


def test_one_line_sources() -> None:
    found = list(sources.parse_list(LIST))
    assert [(s.uri, s.suite) for s in found] == [
        ("http://security.example/debian-security", "bookworm-security"),
        ("http://mirror.example/debian", "trixie"),
    ]
    assert found[1].signed_by == "/k.gpg"
    assert found[1].components == ("main", "non-free")
    assert sources.debian_mirror(found) == "http://mirror.example/debian"


def test_both_forms_are_found_in_an_apt_folder(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian sid main\n")
    (parts / "a.list").write_text("deb http://two.example/debian sid main\n")
    (parts / "b.sources").write_text(DEB822)
    (parts / "c.list.save").write_text("deb http://no.example/debian sid main\n")
    assert [s.uri.split("/")[2] for s in sources.host_sources(tmp_path)] == [
        "one.example", "two.example", "mirror.example", "mirror.example", "other.example",
    ]  # fmt: skip
    assert sources.host_sources(tmp_path / "nowhere") == []


@given(st.text())
def test_any_text_is_parsed_or_passed_over(text: str) -> None:
    list(sources.parse_deb822(text))
    list(sources.parse_list(text))


def test_no_debian_mirror_is_one_sentence_and_a_next_step() -> None:
    with pytest.raises(ImageError, match="no Debian mirror") as caught:
        sources.debian_mirror([sources.Source("http://u.example/ubuntu", "noble", ("main",))])
    assert "sources.list.d" in caught.value.next_step


def test_no_apt_is_one_sentence_and_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="apt-get is missing") as caught:
        image.build(inventory.load_image_profile("debian-13"))
    assert caught.value.exit_code == 3
    left = {path.name for path in (tmp_path / "farm" / "images").iterdir()}
    assert left == {".lock", "by-recipe"}


def test_keys_in_every_form_are_the_same_key() -> None:
    pair = keys.generate()
    private = load_ssh_private_key(pair.private, None)
    public = load_ssh_public_key(pair.public.encode())
    assert isinstance(private, Ed25519PrivateKey) and isinstance(public, Ed25519PublicKey)
    assert private.public_key() == public
    (length,) = struct.unpack_from(">I", pair.dropbear)
    assert pair.dropbear[4 : 4 + length] == b"ssh-ed25519"
    (size,) = struct.unpack_from(">I", pair.dropbear, 4 + length)
    blob = pair.dropbear[8 + length :]
    assert size == len(blob) == 64
    assert blob == private.private_bytes_raw() + public.public_bytes_raw()
    assert keys.generate().public != pair.public


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> image.Image:
    """An image in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with cache.building():
        folder = cache.images_dir() / ".build-x"
        folder.mkdir()
        for name in (cache.KERNEL, cache.INITRD, cache.CLIENT_KEY):
            (folder / name).write_bytes(name.encode())
        one = image.Image(
            id="00112233aabbccdd", profile="debian-13", kernel=folder / cache.KERNEL,
            initrd=folder / cache.INITRD, client_key=folder / cache.CLIENT_KEY,
            host_key="ssh-ed25519 AAAA", kernel_release="6.12.0",
            packages=(ImageProvenance("p", "1.0", "arm64", "0" * 64),), folder=folder,
        )  # fmt: skip
        cache.write_manifest(folder, one)
        return cache.add(folder, one.id)


def test_a_manifest_survives_the_cache(made: image.Image) -> None:
    assert image.find(made.id) == made
    assert image.cached() == [made]
    assert made.kernel.read_bytes() == b"kernel"
    assert made.folder.name == made.id
    assert made.packages == (ImageProvenance("p", "1.0", "arm64", "0" * 64),)


def test_what_a_killed_builder_left_is_swept_and_images_stay(made: image.Image) -> None:
    for folder in (cache.images_dir(), cache.packages_dir()):
        (folder / f"{cache.DRAFT}old").mkdir()
    with cache.building():
        cache.sweep()
    assert not list(cache.packages_dir().iterdir())
    assert image.cached() == [made]


def test_a_warm_build_needs_neither_network_nor_apt(
    made: image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = inventory.load_image_profile("debian-13")
    cache.remember(recipe(profile), made.id)
    monkeypatch.setenv("PATH", "")
    assert image.build(profile) == made


def test_a_recipe_changes_with_what_shapes_the_image_only() -> None:
    profile = inventory.load_image_profile("debian-13")
    same = dataclasses.replace(profile, description="other words", features=frozenset())
    assert recipe(same) == recipe(profile)
    for change in ({"suite": "sid"}, {"modules": ("vgem",)}, {"module_options": {}}):
        assert recipe(dataclasses.replace(profile, **change)) != recipe(profile)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [cache.KERNEL, cache.INITRD])
@pytest.mark.parametrize(("left", "said"), [(b"", "lacks its file"), (b"k", "has 1 bytes, image")])
def test_a_file_that_was_cut_short_is_not_booted(
    made: image.Image, name: str, left: bytes, said: str
) -> None:
    profile = inventory.load_image_profile("debian-13")
    cache.remember(recipe(profile), made.id)
    (made.folder / name).write_bytes(left)
    with pytest.raises(ImageError, match=said):
        image.find(made.id)
    assert image.cached() == [] and cache.recall(recipe(profile)) is None


def test_a_sound_image_takes_the_place_of_a_damaged_one(made: image.Image) -> None:
    with cache.building():
        fresh = made.folder.with_name(f"{cache.DRAFT}fresh")
        shutil.copytree(made.folder, fresh)
        made.initrd.write_bytes(b"")
        assert cache.add(fresh, made.id) == made
    assert made.initrd.read_bytes() == b"initrd"
    assert {path.name for path in cache.images_dir().iterdir()} == {".lock", made.id}


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 2}', "\0\xff"])
def test_a_damaged_manifest_is_our_error(made: image.Image, text: str) -> None:
    (made.folder / cache.MANIFEST).write_text(text)
    with pytest.raises(ImageError, match=r"manifest\.json cannot be used") as caught:
        image.find(made.id)
    assert "farm image build" in caught.value.next_step
    assert image.cached() == []
    assert cache.recall("none") is None


def test_an_image_without_its_kernel_is_built_again(made: image.Image) -> None:
    cache.remember("recipe", made.id)
    made.kernel.unlink()
    with pytest.raises(ImageError, match="lacks its file"):
        image.find(made.id)
    assert cache.recall("recipe") is None


@pytest.mark.parametrize("image_id", ["ffffffffffffffff", "../../etc", ""])
def test_an_unknown_image_is_our_error(made: image.Image, image_id: str) -> None:
    with pytest.raises(ImageError, match="not in the cache"):
        image.find(image_id)


@pytest.mark.skipif(os.access("/usr/bin/dpkg-deb", os.X_OK) is False, reason="no dpkg-deb")
def test_a_package_that_is_none_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"no package")
    with pytest.raises(ImageError, match=r"cannot unpack x\.deb"):
        apt.unpack(tmp_path / "x.deb", tmp_path / "out")


def test_a_disk_that_gets_full_meanwhile_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for tool in ("apt-get", "dpkg-deb"):
        script = tmp_path / tool
        script.write_text("#!/bin/sh\necho 'E: write (28: No space left on device)' >&2\nexit 2\n")
        script.chmod(0o755)
    (tmp_path / "root").mkdir()
    said = f"not enough disk space below {tmp_path}"
    with pytest.raises(ImageError, match=f"{said}: apt-get: write") as caught:
        apt.AptRoot(tmp_path / "root", "sid").update()
    assert "farm gc" in caught.value.next_step
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.deb'"):
        apt.unpack(tmp_path / "x.deb", tmp_path)


def test_an_interrupt_while_a_draft_goes_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, calls = shutil.rmtree, 0

    def interrupted(path: Path, **words: bool) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        remove(path, **words)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), cache.draft(tmp_path) as work:
        (work / "half").write_bytes(b"made")
    assert calls == 2
    assert not list(tmp_path.iterdir())


def test_security_updates_have_a_mirror_of_their_own() -> None:
    main = ("main",)
    found = [
        sources.Source("http://d.example/debian", "bookworm", main),
        sources.Source("http://d.example/debian-security", "bookworm-security", main),
    ]
    assert sources.debian_mirror(found, "trixie-security") == "http://d.example/debian-security"
    assert sources.debian_mirror(found, "trixie-updates") == "http://d.example/debian"
    with pytest.raises(sources.NoMirror, match="no Debian mirror with trixie-security"):
        sources.debian_mirror(found[:1], "trixie-security")


AVAILABLE = """\
Package: linux-image-6.12.107+deb13-arm64
Depends: linux-base (>= 4)

Package: linux-image-6.12.9+deb13-arm64
Depends: linux-base (>= 4), initramfs-tools | dracut

Package: linux-image-6.19.14+deb13-arm64
Depends: linux-binary-6.19.14+deb13-arm64 (= 6.19.14-1)

Package: linux-binary-6.19.14+deb13-arm64
Depends: linux-modules-6.19.14+deb13-arm64 (= 6.19.14-1)

Package: linux-image-7.2.13+deb14-arm64
Depends: linux-modules-7.2.13+deb14-arm64

Package: linux-modules-7.2.13+deb14-arm64

Package: linux-image-7.2.13+deb14-cloud-arm64
"""


def test_a_kernel_of_which_a_part_has_left_the_archive_is_not_offered() -> None:
    assert apt.whole_kernels(AVAILABLE) == ["6.12.9+deb13", "6.12.107+deb13", "7.2.13+deb14"]
    assert apt.whole_kernels("") == []


def test_versions_are_in_the_order_of_their_age() -> None:
    versions = ["6.1.0-9", "6.1.0-50", "6.12~rc3", "6.12", "6.12.9+deb13", "6.12.90+deb13",
                "6.12.90+deb13.1", "6.12.90+deb14", "6.12.107+deb13"]  # fmt: skip
    assert sorted(reversed(versions), key=apt.by_age) == versions
