"""Kernel modules and the shared libraries of programs: what an image takes along."""

from __future__ import annotations

import contextlib
import lzma
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ImageError
from farm.image.cpio import Tree
from farm.image.initramfs import add_modules, add_package, check_libraries, needed_libraries
from farm.image.modules import ModuleFolder, modinfo
from tests.support.modules import module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "6.12.0"
    drivers = root / "kernel" / "drivers"
    drivers.mkdir(parents=True)
    (drivers / "virtio-gpu.ko.xz").write_bytes(lzma.compress(module("virtio_gpu", "drm,shmem")))
    (drivers / "shmem.ko").write_bytes(module("shmem", "drm"))
    (drivers / "drm.ko.xz").write_bytes(lzma.compress(module("drm", "i2c-core")))
    (drivers / "vgem.ko").write_bytes(module("vgem", "shmem,drm"))
    (drivers / "odd.ko").write_bytes(module("odd", "nowhere"))
    (root / "modules.builtin").write_text("kernel/drivers/i2c/i2c-core.ko\n")
    return root


def test_modules_come_after_what_they_need(folder: Path) -> None:
    found = ModuleFolder(folder).closure(["vgem", "virtio-gpu"])
    assert [m.name for m in found] == ["drm", "shmem", "vgem", "virtio_gpu"]
    assert found[3].path == "kernel/drivers/virtio-gpu.ko"
    assert modinfo(found[3].data)["name"] == ["virtio_gpu"]


def test_a_built_in_module_needs_no_file(folder: Path) -> None:
    assert ModuleFolder(folder).closure(["i2c_core"]) == []


@pytest.mark.parametrize(("name", "text"), [("gone", "'gone'"), ("odd", "needed by 'odd'")])
def test_a_module_that_the_kernel_lacks_is_named(folder: Path, name: str, text: str) -> None:
    with pytest.raises(ImageError, match=text) as caught:
        ModuleFolder(folder).closure([name])
    assert "6.12.0" in caught.value.message


def test_a_damaged_module_is_our_error(folder: Path) -> None:
    (folder / "kernel" / "bad.ko.xz").write_bytes(b"nothing")
    (folder / "kernel" / "worse.ko").write_bytes(b"nothing")
    (folder / "kernel" / "new.ko.zst").write_bytes(b"nothing")
    for name in ("bad", "worse", "new"):
        with pytest.raises(ImageError, match=name):
            ModuleFolder(folder).closure([name])


ELF = st.builds(
    lambda head, tail: b"\x7fELF\x02\x01" + head + tail,
    st.lists(st.sampled_from([b"\0", b"\x01", b"\x40", b"\xff"]), max_size=64).map(b"".join),
    st.binary(max_size=200),
)


@given(st.one_of(ELF, st.binary(max_size=100)))
def test_any_bytes_give_modinfo_or_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        modinfo(data)


@given(st.one_of(ELF, st.binary(max_size=100)))
def test_any_bytes_give_libraries_or_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        needed_libraries(data)


def test_the_libraries_of_a_real_program() -> None:
    names = needed_libraries(Path(sys.executable).resolve().read_bytes())
    assert any(name.startswith("libc.so") for name in names)


def test_a_missing_library_names_the_program(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("/usr/bin/python", Path(sys.executable).resolve().read_bytes())
    with pytest.raises(ImageError, match="/usr/bin/python needs") as caught:
        check_libraries(tree)
    assert "'packages'" in caught.value.next_step


def test_a_package_lands_merged_and_without_documentation(tmp_path: Path) -> None:
    for name in ("bin/tool", "usr/lib/x.so.1.2", "usr/share/doc/tool/README", "etc/init.d/tool",
                 "usr/lib/aarch64-linux-gnu/gconv/A.so"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "usr/lib/x.so.1").symlink_to("x.so.1.2")
    tree = Tree()
    add_package(tree, tmp_path)
    files = {path for path, entry in tree.entries.items() if entry.data}
    assert files == {"/usr/bin/tool", "/usr/lib/x.so.1.2", "/usr/lib/x.so.1"}
    assert tree.entries["/usr/lib/x.so.1"].data == b"x.so.1.2"


def test_init_loads_in_order_with_options(folder: Path) -> None:
    tree = Tree()
    found = ModuleFolder(folder).closure(["virtio-gpu"])
    options = {"virtio-gpu": "modeset=1 x=2"}
    add_modules(tree, "6.12.0", found, options, under_test=["virtio_gpu"])
    assert tree.entries["/etc/farm/modules"].data.decode().splitlines() == [
        "module kernel/drivers/drm.ko",
        "module kernel/drivers/shmem.ko",
        "driver kernel/drivers/virtio-gpu.ko modeset=1 x=2",
    ]
    dep = tree.entries["/usr/lib/modules/6.12.0/modules.dep"].data.decode()
    assert "kernel/drivers/virtio-gpu.ko: kernel/drivers/shmem.ko kernel/drivers/drm.ko\n" in dep
