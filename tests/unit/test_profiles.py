"""Image profiles: built on each other, from source, and one exact version of Debian's kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import inventory, profiles
from farm.errors import ConfigError, UsageError

BASE = """\
description: the base
suite: trixie
kernel: linux-image-arm64
packages: [busybox-static]
modules: [vgem, vivid]
module_options: {vivid: n_devs=2}
features: [vgem]
"""

SOURCE = """\
like: base
description: from source
kernel_suite: trixie-backports
source:
  package: linux-source-6.12
  config: [kernels/a.config]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a base profile and one from source."""
    images = tmp_path / "board-configs" / "images"
    images.mkdir(parents=True)
    (tmp_path / "testsuites" / "edu").mkdir(parents=True)
    (tmp_path / "board-configs" / "kernels").mkdir()
    (tmp_path / "board-configs" / "kernels" / "a.config").write_text("CONFIG_A=y\n")
    (images / "base.yaml").write_text(BASE)
    (images / "built.yaml").write_text(SOURCE)
    monkeypatch.setenv("FARM_ROOT", str(tmp_path))
    return images


def test_a_profile_takes_over_what_it_does_not_say(folder: Path) -> None:
    built = profiles.load_image_profile("built")
    assert (built.kernel, built.modules, built.suite) == ("", ("vgem", "vivid"), "trixie")
    assert built.kernel_suites == ("trixie-backports",)
    assert built.source is not None
    assert [path.name for path in built.source.config] == ["a.config"]
    (folder / "debug.yaml").write_text("like: built\ndescription: more\n")
    debug = profiles.load_image_profile("debug")
    assert (debug.source, debug.slowness) == (built.source, 1.0)
    (folder / "stock.yaml").write_text("like: built\ndescription: x\nkernel: linux-image-arm64\n")
    stock = profiles.load_image_profile("stock")
    assert stock.source is None and stock.kernel == "linux-image-arm64"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (SOURCE.replace("like: base", "like: bass"), 1, "did you mean 'base'?"),
        (SOURCE.replace("like: base", "like: wrong"), 1, "in a circle"),
        (SOURCE.replace("a.config", "b.config"), 6, "'kernels/b.config' is not in"),
        (SOURCE.replace("kernels/a.config", "../../x"), 6, "is not in"),
        (SOURCE + "kernel: linux-image-arm64\n", 7, "one of the keys"),
        (SOURCE + "module_sources: [gone]\n", 7, "'gone' is not in"),
        (SOURCE + "module_option: {}\n", 7, "did you mean 'module_options'?"),
        (SOURCE + "hardware: {bochs: {export: false}}\n", 7, "did you mean 'exports'?"),
        (BASE + "module_sources: [edu]\n", 8, "with a kernel from 'source' only"),
        (BASE.replace("kernel: linux-image-arm64\n", ""), 1, "one of the keys"),
    ],
)
def test_a_mistake_names_file_line_and_what_was_expected(
    folder: Path, text: str, line: int, said: str
) -> None:
    path = folder / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        profiles.load_image_profile("wrong")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "like", "first"),
    [
        ("debian:6.1.0-50", "debian-12", "bookworm"),
        ("debian:6.12.90+deb12", "debian-13", "bookworm"),
        ("debian:6.12.107+deb13", "debian-13", "trixie"),
        ("debian:6.16.3+deb13", "debian-sid", "trixie"),  # its cirrus is called as in 7.x
        ("debian:7.2.12+deb13", "debian-sid", "trixie"),
        ("debian:7.2.13+deb14", "debian-sid", "sid"),
    ],
)
def test_one_version_of_debian_s_kernel(name: str, like: str, first: str) -> None:
    exact = profiles.load_image_profile(name)
    base = profiles.load_image_profile(like)
    assert exact.name == name
    assert exact.kernel == f"linux-image-{name.removeprefix('debian:')}-arm64"
    assert exact.kernel_suites[0] == first
    assert {"bookworm", "trixie-security", "trixie-updates", "sid"} <= set(exact.kernel_suites)
    assert exact.features == base.features and exact.modules == base.modules


@pytest.mark.parametrize("name", ["debian:", "debian:newest", "debian:6", "debian:6.12 ; rm"])
def test_what_is_no_version_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no version of Debian's kernel") as caught:
        profiles.load_image_profile(name)
    assert "debian:6.12.90+deb12" in caught.value.next_step


def test_a_profile_says_what_its_kernel_s_drivers_do_otherwise() -> None:
    board = inventory.load_board_types()["virt-smmuv3"]
    stock = {d.id: d for d in inventory.devices(board, profiles.load_image_profile("debian-13"))}
    old = {d.id: d for d in inventory.devices(board, profiles.load_image_profile("debian-12"))}
    assert stock["bochs"].exports and not old["bochs"].exports
    assert stock["cirrus"] == old["cirrus"]


def test_one_board_of_each_default_type_is_brought_up_unasked() -> None:
    from farm.lab import virtual

    assert virtual.default_types(inventory.load_board_types()) == ["virt-noiommu", "virt-smmuv3"]


def test_a_slow_kernel_has_longer_time_limits(folder: Path) -> None:
    (folder / "debian-13.yaml").write_text("like: base\ndescription: x\nslowness: 4\n")
    profile = profiles.load_image_profile("debian-13")
    config = Path(__file__).parents[2] / "board-configs" / "virt-smmuv3.yaml"
    board_type = inventory.load_board_type(config)
    usual, slow = board_type.limits, board_type.booting(profile).limits
    assert (slow.boot_s, slow.case_s, slow.command_s) == (
        4 * usual.boot_s,
        4 * usual.case_s,
        4 * usual.command_s,
    )
    assert (slow.slowness, slow.reboots) == (4, usual.reboots)


def test_what_a_kernel_s_log_is_known_for(folder: Path) -> None:
    known = "known_complaints: [{line: '%s', reason: 'its driver does so'}]\n"
    (folder / "odd.yaml").write_text(f"like: base\ndescription: x\n{known % 'DMA-API: one'}")
    (told,) = profiles.load_image_profile("odd").known_complaints
    assert told.line.search("[ 1.0] DMA-API: one two") and told.reason == "its driver does so"
    (folder / "odd.yaml").write_text(f"like: base\ndescription: x\n{known % 'DMA-API: ('}")
    with pytest.raises(ConfigError, match=r"odd\.yaml:3: .*not a regular expression"):
        profiles.load_image_profile("odd")
