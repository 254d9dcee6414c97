"""A kernel, modules and drivers of the user's own: what is refused, and what is recorded."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import UsageError
from farm.image.modules import ModuleFolder
from farm.image.own import NOTHING, check_fits, check_network, read_driver, read_kernel, read_own
from tests.support.modules import module

MAGIC = "6.12.107-reference SMP mod_unload aarch64"
BOOTS = bytearray(0x40) + b"Linux version 6.12.107-reference (farm@farm) "
BOOTS[0x38:0x3C] = b"ARM\x64"


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_driver_is_recorded_with_what_identifies_it(tmp_path: Path) -> None:
    data = lzma.compress(module("my_codec", vermagic=f"{MAGIC} ", srcversion="ABC123"))
    driver = read_driver(written(tmp_path / "my-codec.ko.xz", data))
    row = driver.provenance
    assert row.package == "driver my_codec"
    assert row.version == f"srcversion ABC123, vermagic {MAGIC}"
    assert row.sha256 == hashlib.sha256(data).hexdigest()


def test_a_driver_is_what_it_calls_itself_and_not_what_its_file_is_called(tmp_path: Path) -> None:
    data = module("vivid", vermagic=MAGIC)
    patched = written(tmp_path / "vivid patched.ko", data)
    assert read_driver(patched).name == "vivid"
    (one,) = ModuleFolder(tmp_path / "none", {"vivid": patched}).closure(["vivid"])
    assert one.path == "extra/vivid.ko"
    with pytest.raises(UsageError, match="are both the kernel module 'vivid'") as caught:
        read_own(None, None, [patched, written(tmp_path / "vivid.ko", data)])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.ko", module("two words", vermagic=MAGIC), "calls itself 'two words'"),
        ("x.ko", module("x\ny", vermagic=MAGIC), r"calls itself 'x\\ny'"),
        ("x.ko", b"no module", "no kernel module"),
        ("x.ko.xz", b"no xz", "damaged kernel module"),
        ("x.txt", module("x", vermagic=MAGIC), "no kernel module"),
        ("x.ko", module("x"), "no vermagic"),
    ],
)
def test_what_is_no_driver_is_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_driver(written(tmp_path / name, data))
    assert caught.value.exit_code == 2


def test_a_driver_for_another_kernel_names_both(tmp_path: Path) -> None:
    old = "6.1.0-50-arm64 SMP mod_unload modversions aarch64"
    driver = read_driver(written(tmp_path / "x.ko", module("x", vermagic=old)))
    with pytest.raises(UsageError) as caught:
        check_fits(driver, "6.12.107-reference", MAGIC)
    assert old in caught.value.message and MAGIC in caught.value.message
    assert "--kernel" in caught.value.next_step
    with pytest.raises(UsageError, match=r"boots '6\.12\.107-reference'"):
        check_fits(driver, "6.12.107-reference", "")
    check_fits(driver, "6.1.0-50-arm64", "")
    check_fits(driver, "6.1.0-50-arm64", old)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_kernel_says_its_release(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    kernel = read_kernel(written(tmp_path / "Image", pack(bytes(BOOTS))))
    assert kernel.release == "6.12.107-reference"
    assert kernel.provenance.package == "kernel Image"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x7fELF" + bytes(BOOTS), "found an ELF file"),
        (b"MZ\0\0zimg", r"found a compressed EFI program \(CONFIG_EFI_ZBOOT\)"),
        (b"", "found an empty file"),
        (b"root:x:0:0", "found a file that begins with b'root:x:0'"),
        (bytes(BOOTS[:0x40]), "found a file that begins with"),
        (b"\x1f\x8b\x08 broken", "damaged gzip"),
    ],
)
def test_what_does_not_boot_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_kernel(written(tmp_path / "vmlinux", data))
    assert "arch/arm64/boot/Image" in caught.value.next_step


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_kernel_or_our_error(tmp_path_factory: object, data: bytes) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    with contextlib.suppress(UsageError):
        read_kernel(path)


def test_modules_are_found_where_make_installs_them(tmp_path: Path) -> None:
    kernel = written(tmp_path / "Image", bytes(BOOTS))
    folder = tmp_path / "out" / "lib" / "modules" / "6.12.107-reference"
    written(folder / "modules.order", b"")
    for named in (tmp_path / "out", folder):
        found = read_own(kernel, named, ()).modules
        assert found is not None and found.path == folder
    with pytest.raises(UsageError, match="0 folders of installed modules"):
        read_own(kernel, folder.parent.parent / "nowhere", ())
    with pytest.raises(UsageError, match="without their kernel"):
        read_own(None, folder, ())
    with pytest.raises(UsageError, match="cannot be read"):
        read_own(tmp_path / "gone", None, ())


def test_modules_of_another_kernel_are_refused(tmp_path: Path) -> None:
    kernel = written(tmp_path / "Image", bytes(BOOTS))
    folder = tmp_path / "6.12.108"
    written(folder / "modules.order", b"")
    one = folder / "kernel" / "one.ko"
    written(one, module("one", vermagic=MAGIC))
    assert read_own(kernel, folder, ()).modules is not None
    written(one, module("one", vermagic=MAGIC.replace(".107", ".108")))
    with pytest.raises(UsageError, match=r"for Linux 6\.12\.108-.*Image is Linux 6\.12\.107-"):
        read_own(kernel, folder, ())
    written(one, b"")
    with pytest.raises(UsageError, match="holds no modules that a kernel loads: "):
        read_own(kernel, folder, ())


def test_a_kernel_without_a_network_is_refused_before_it_boots(tmp_path: Path) -> None:
    check_network(NOTHING)
    bare = written(tmp_path / "bare" / "Image", bytes(BOOTS))
    with pytest.raises(UsageError, match=r"Image: Linux 6\.12\.107-reference has no driver"):
        check_network(read_own(bare, None, ()))
    folder = tmp_path / "modules"
    written(folder / "modules.order", b"")
    with pytest.raises(UsageError, match="not built in nor among the modules in"):
        check_network(read_own(bare, folder, ()))
    written(folder / "kernel" / "virtio_net.ko", module("virtio_net", vermagic=MAGIC))
    check_network(read_own(bare, folder, ()))
    whole = written(tmp_path / "whole" / "Image", bytes(BOOTS) + b"x\0virtio_net\0")
    check_network(read_own(whole, None, ()))


def test_identity_changes_with_every_part(tmp_path: Path) -> None:
    kernel = written(tmp_path / "Image", bytes(BOOTS))
    folder = tmp_path / "modules"
    written(folder / "modules.order", b"")
    driver = written(tmp_path / "x.ko", module("x", vermagic=MAGIC))
    kinds = [NOTHING, read_own(kernel, None, ()), read_own(kernel, folder, ())]
    kinds += [read_own(None, None, [driver])]
    renamed = written(tmp_path / "y.ko", module("y", vermagic=MAGIC))
    kinds += [read_own(None, None, [renamed])]
    assert [bool(own) for own in kinds] == [False, True, True, True, True]
    before = read_own(kernel, folder, ())
    assert [row.package for row in before.provenance] == ["kernel Image", "modules"]
    written(folder / "modules.builtin", b"kernel/x.ko")
    kinds += [read_own(kernel, folder, ())]
    assert len({repr(own.identity) for own in kinds}) == len(kinds)
    assert before.provenance != kinds[-1].provenance


def test_an_added_module_stands_in_for_one_of_its_name(tmp_path: Path) -> None:
    stock = written(tmp_path / "r" / "kernel" / "x.ko", module("x", vermagic=MAGIC))
    mine = written(tmp_path / "mine" / "x.ko", module("x", vermagic=MAGIC, srcversion="MINE"))
    found = ModuleFolder(tmp_path / "r", {"x": mine})
    assert found.vermagic == ""  # nothing but the module that stands in
    (one,) = found.closure(["x"])
    assert one.path == "extra/x.ko"
    assert one.data == mine.read_bytes() != stock.read_bytes()
    written(tmp_path / "r" / "kernel" / "y.ko", module("y", vermagic=MAGIC))
    assert ModuleFolder(tmp_path / "r", {"x": mine}).vermagic == MAGIC
