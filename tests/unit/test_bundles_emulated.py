"""Programs of another architecture: which packages they come from, and what goes where."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from farm.errors import ImageError
from farm.image import apt, bundles

X86, ARM = "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"


def elf(*needed: str) -> bytes:
    """Return an ELF64 file that needs some libraries and can nothing."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    dynamic, start = b"", 1
    for name in needed:
        dynamic += struct.pack("<QQ", 1, start)
        start += len(name) + 1
    at = 64 + 2 * 56
    dynamic += struct.pack("<QQQQ", 5, at + len(dynamic) + 32, 0, 0)
    whole = at + len(dynamic) + len(names)
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x20, 64)
    struct.pack_into("<HH", header, 0x36, 56, 2)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, whole, whole, 4096)
    table = struct.pack("<IIQQQQQQ", 2, 4, at, at, at, len(dynamic), len(dynamic), 8)
    return bytes(header) + load + table + dynamic + names


PACKAGES = {
    "amd64": {
        "igt-gpu-tools-tests": {"usr/libexec/igt/sw_sync": elf("libigt.so.0", "libc.so.6")},
        "igt-gpu-tools": {f"{X86}/libigt.so.0": elf("libz.so.1")},
        "zlib1g": {f"{X86}/libz.so.1": elf()},
        "libc6": {f"{X86}/libc.so.6": elf()},
        "libpython3.14-stdlib": {"usr/lib/python3.14/os.py": b""},
        "python3": {"usr/bin/python3": elf()},
    },
    "arm64": {
        "box64": {"usr/bin/box64": elf("libc.so.6")},
        "libc6-amd64-cross": {"usr/x86_64-linux-gnu/lib/libc.so.6": elf()},
        "coreutils": {"usr/libexec/coreutils/libstdbuf.so": elf()},
        "libc6": {
            f"{ARM}/{name}": elf()
            for name in ("libc.so.6", bundles.LOADER, *bundles.WRAPPED)
        },
    },
}  # fmt: skip


class Archive:
    def __init__(self, architecture: str) -> None:
        self.architecture = architecture

    def update(self) -> None: ...

    def with_dependencies(self, names: Sequence[str]) -> list[apt.Package]:
        packages = PACKAGES[self.architecture]
        assert set(names) & set(packages)
        return [apt.Package(name, "1", self.architecture, "", 1, "0" * 64, "") for name in packages]

    def fetch(self, found: Sequence[apt.Package], store: Path, say: apt.Progress) -> list[Path]:
        return [Path(package.architecture) / package.name for package in found]


def unpack(file: Path, target: Path) -> None:
    for name, content in PACKAGES[file.parent.name][file.name].items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


@pytest.fixture(autouse=True)
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def root(suite: str, parent: Path, *, architecture: str) -> Iterator[Archive]:
        assert suite == "sid"
        yield Archive(architecture)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(apt, "apt_root", root)
    monkeypatch.setattr(apt, "unpack", unpack)


def test_foreign_programs_come_with_their_libraries_and_what_runs_them() -> None:
    wanted = ["igt-gpu-tools-tests", "igt-gpu-tools"]
    bundle = bundles.emulated("igt", wanted, {"sw_sync": "usr/libexec/igt/sw_sync"}, suite="sid")
    with tarfile.open(bundle.archive) as archive:
        held = set(archive.getnames())
    assert held == {
        "bin/sw_sync", "bin/box64", "x86/libigt.so.0", "x86/libz.so.1", "x86/libc.so.6",
        "lib/libc.so.6", f"lib/{bundles.LOADER}", f"lib/{bundles.LINE_BUFFERED}",
        *(f"lib/{name}" for name in bundles.WRAPPED),
    }  # fmt: skip
    assert bundle.loader and bundle.programs == ("box64", "sw_sync")
    made_of = {(row.package, row.architecture) for row in bundle.made_of}
    assert ("box64", "arm64") in made_of and ("igt-gpu-tools", "amd64") in made_of
    assert not {name for name, _ in made_of if "python" in name or "cross" in name}


def test_a_program_that_the_packages_lack_is_named() -> None:
    with pytest.raises(ImageError, match="no package of the bundle holds /usr/libexec/igt/other"):
        bundles.emulated("igt", ["igt-gpu-tools"], {"o": "usr/libexec/igt/other"}, suite="sid")
