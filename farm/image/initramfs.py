"""The initramfs of a virtual board: Debian user space, kernel modules, keys and our init."""

from __future__ import annotations

import importlib.resources
import stat
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ImageError
from farm.image.cpio import Tree
from farm.image.modules import Module

_KEPT = ("usr/bin/", "usr/sbin/", "usr/lib/")
_DROPPED = ("gconv", "audit", "systemd", "locale", "doc")
_MERGED = ("bin", "sbin", "lib")
_EMPTY = ("/proc", "/sys", "/dev", "/tmp", "/run", "/var/log", "/mnt")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may log in and as whom the board answers."""

    host_key: bytes
    authorized_key: str


def init_script() -> bytes:
    """Return the board's first process, a busybox shell script."""
    return importlib.resources.files("farm.image").joinpath("init.sh").read_bytes()


def _merged(path: str) -> str:
    """Return where a file of a package lands when ``/bin``, ``/sbin`` and ``/lib`` are merged."""
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED else path


def add_package(tree: Tree, unpacked: Path) -> None:
    """Add the programs and libraries of an unpacked package; documentation stays out."""
    for source in sorted(unpacked.rglob("*")):
        path = _merged(source.relative_to(unpacked).as_posix())
        if not path.startswith(_KEPT) or any(part in _DROPPED for part in path.split("/")):
            continue
        if source.is_symlink():
            tree.symlink(f"/{path}", str(source.readlink()))
        elif source.is_file():
            tree.file(f"/{path}", source.read_bytes(), stat.S_IMODE(source.stat().st_mode))


def needed_libraries(data: bytes) -> list[str]:
    """Return the names of the shared libraries that an ELF64 file asks for; none for other files.

    Raises:
        ValueError: the file starts like an ELF file and is damaged.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        return []
    try:
        (headers,) = struct.unpack_from("<Q", data, 0x20)
        size, count = struct.unpack_from("<HH", data, 0x36)
        segments = [struct.unpack_from("<IIQQQQQQ", data, headers + i * size) for i in range(count)]
        dynamic = next((s for s in segments if s[0] == 2), None)
        if dynamic is None:
            return []
        pairs = list(
            struct.iter_unpack("<QQ", data[dynamic[2] : dynamic[2] + dynamic[5] // 16 * 16])
        )
        (strings,) = (value for tag, value in pairs if tag == 5)
        load = next(s for s in segments if s[0] == 1 and s[3] <= strings < s[3] + s[5])
        base = strings - load[3] + load[2]
        names = [data[base + v : data.index(b"\0", base + v)] for tag, v in pairs if tag == 1]
    except (struct.error, OverflowError, StopIteration, IndexError) as error:
        raise ValueError(f"damaged ELF file: {error}") from error
    return [name.decode("ascii", "replace") for name in names]


def check_libraries(tree: Tree) -> None:
    """Make sure that every program's libraries are in the tree.

    Raises:
        ImageError: one is not; the message names program and library.
    """
    present = {path.rsplit("/", 1)[1] for path in tree.entries if path != "/"}
    for path, entry in tree.entries.items():
        if not stat.S_ISREG(entry.mode) or not path.startswith("/usr/"):
            continue
        try:
            missing = [name for name in needed_libraries(entry.data) if name not in present]
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from error
        if missing:
            raise ImageError(
                f"{path} needs {missing[0]}, which no package of the image brings",
                next_step="add the library's package to the image profile's 'packages'",
            )


def add_modules(
    tree: Tree,
    release: str,
    load: Sequence[Module],
    options: Mapping[str, str],
    extra: Sequence[Module] = (),
    under_test: Collection[str] = (),
) -> None:
    """Add modules, ``modules.dep`` for modprobe, and the list that init loads in order.

    ``options`` maps module names to their options; ``extra`` are modules that nobody loads;
    ``under_test`` are the names of drivers under test.
    """
    base = f"/lib/modules/{release}"
    by_name = {module.name: module for module in (*load, *extra)}
    wanted = {name.replace("-", "_"): words for name, words in options.items()}
    dep: list[str] = []
    for module in by_name.values():
        tree.file(f"/usr{base}/{module.path}", module.data)
        # modprobe wants a module's needs last-to-first, and all of them, not the direct ones only.
        needs = _all_needs(module, by_name)
        dep.append(f"{module.path}: {' '.join(by_name[name].path for name in needs)}".rstrip())
    tree.file(f"/usr{base}/modules.dep", ("\n".join(dep) + "\n").encode())
    lines = []
    for module in load:
        kind = "driver" if module.name in under_test else "module"
        lines.append(f"{kind} {module.path} {wanted.get(module.name, '')}".rstrip())
    tree.file("/etc/farm/modules", "".join(f"{line}\n" for line in lines).encode())


def _all_needs(module: Module, by_name: Mapping[str, Module]) -> list[str]:
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for other in by_name[name].depends:
            if other in by_name and other not in found:
                visit(other)
                found[other] = None

    visit(module.name)
    return list(reversed(found))


def add_configuration(tree: Tree, access: Access, image_id: str) -> None:
    """Add users, keys, the image's id and init."""
    for name in _MERGED:
        tree.symlink(f"/{name}", f"usr/{name}")
    for folder in _EMPTY:
        tree.directory(folder, 0o1777 if folder == "/tmp" else 0o755)
    tree.character_device("/dev/console", 5, 1)
    tree.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    tree.file("/etc/group", b"root:x:0:\ntty:x:5:\n")
    tree.file("/etc/shells", b"/bin/sh\n")
    tree.file("/etc/profile", b"export PS1='\\u@\\h:\\w\\$ ' TERM=${TERM:-vt100}\n")
    tree.file("/etc/farm/image", f"{image_id}\n".encode())
    tree.file("/etc/dropbear/host_key", access.host_key, 0o600)
    tree.directory("/root", 0o700)
    tree.directory("/root/.ssh", 0o700)
    tree.file("/root/.ssh/authorized_keys", f"{access.authorized_key}\n".encode(), 0o600)
    tree.file("/init", init_script(), 0o755)
