"""A private apt root: Debian packages of another suite and architecture, the host untouched.

It lives in a temporary folder for the time of one fetch. The host's own apt configuration is read
for how to reach the network (``Acquire::*``: proxies, retries) and nothing else, so its hooks do
not run; no root rights are needed. Fetched packages are kept by their SHA-256.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ImageError
from farm.image import sources
from farm.image.cache import draft, no_room, touch
from farm.image.steps import DISK_FULL, ends_with_us
from farm.model import ImageProvenance

Progress = Callable[[str], None]

KERNEL_IMAGE = re.compile(r"linux-image-(\d[a-z0-9.+~-]*)-arm64")
"""Names of Debian's kernel packages for arm64, and the version that the name tells."""

_INSTALLED = re.compile(r"^Inst ([a-z0-9][a-z0-9+.-]*)", re.M)
_KERNEL_SOURCE = re.compile(r"\blinux-source-\d+\.\d+\b")
_KERNEL_PART = re.compile(r"linux-(image|binary|modules|base)-[a-z0-9.+~-]+$")
_ACQUIRE = re.compile(
    r"Acquire::(https?|ftp|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date)\b", re.I
)
_TIMEOUT_S = 900.0
_NOT_FOUND = "No packages found"
"""What apt-cache says for a name that it does not know."""


@dataclass(frozen=True, slots=True)
class Package:
    """One version of one package in the archive; ``size`` in bytes."""

    name: str
    version: str
    architecture: str
    filename: str
    size: int
    sha256: str
    depends: str

    @property
    def provenance(self) -> ImageProvenance:
        """Return what an image records of it."""
        return ImageProvenance(self.name, self.version, self.architecture, self.sha256)


class PackageGone(ImageError):
    """A suite does not have a package, or has it no longer; ``package`` is its name."""

    def __init__(self, message: str, *, package: str, next_step: str = "") -> None:
        """Keep the package's name beside the sentence."""
        super().__init__(message, next_step=next_step)
        self.package = package


def _kernel_parts(depends: str) -> list[str]:
    """Return which parts of a kernel a package depends on."""
    names = (part.split() for part in re.split(r"[,|]", depends))
    return [words[0] for words in names if words and _KERNEL_PART.match(words[0])]


def by_age(version: str) -> list[tuple[tuple[int, ...], int]]:
    """Return what sorts versions the oldest first, as deb-version(7) does within their parts."""

    def weight(sign: str) -> int:
        return -1 if sign == "~" else ord(sign) if sign.isalpha() else ord(sign) + 256

    return [
        ((*map(weight, words), 0), int(number or "0"))
        for words, number in re.findall(r"(\D*)(\d*)", version)
    ]


def whole_kernels(available: str) -> list[str]:
    """Return the versions of arm64 kernels all of whose parts are in a list of packages.

    ``available`` is as ``apt-cache dumpavail`` tells it, deb822(5).
    """
    ours = (text for text in available.split("\n\n") if text.startswith("Package: linux-"))
    rows = (row for text in ours for row in sources.stanzas(text))
    needs = {
        row["package"]: _kernel_parts(f"{row.get('pre-depends', '')}, {row.get('depends', '')}")
        for row in rows
    }

    def whole(name: str, above: tuple[str, ...] = ()) -> bool:
        if name in above:
            return True
        return name in needs and all(whole(part, (*above, name)) for part in needs[name])

    found = (KERNEL_IMAGE.fullmatch(name) for name in needs if whole(name))
    plain = (match[1] for match in found if match)
    return sorted((v for v in plain if not v.endswith(("-rt", "-cloud"))), key=by_age)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ImageError(
            f"{name} is missing, and board images are made of Debian packages",
            next_step="use a Debian machine, or install apt and dpkg",
        )
    return found


class AptRoot:
    """apt for one suite and architecture in a folder of its own; make it with :func:`apt_root`."""

    def __init__(self, folder: Path, suite: str) -> None:
        """Use a folder that :func:`apt_root` has filled."""
        self._folder = folder
        self._suite = suite

    def _run(self, *argv: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ends_with_us([_tool(argv[0]), *argv[1:]]),
                env=environment,
                cwd=cwd or self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ImageError(
                f"{argv[0]} for Debian suite {self._suite!r} took over {_TIMEOUT_S:g} s",
                next_step="check the network and this machine's apt mirror, then try again",
            ) from error
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            reason = said[0][2:].strip() if said else f"exit code {done.returncode}"
            if DISK_FULL in done.stderr:
                raise no_room(self._folder.parent, f"{argv[0]}: {reason}")
            raise ImageError(
                f"{argv[0]} failed for Debian suite {self._suite!r}: {reason}",
                next_step="check that 'apt-get update' works on this machine, then try again",
            )
        return done.stdout

    def update(self) -> None:
        """Fetch the suite's package lists."""
        self._run("apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any")

    def lookup(self, name: str) -> Package:
        """Return the suite's version of a package.

        Raises:
            PackageGone: the suite has no such package.
            ImageError: apt itself fails.
        """
        try:
            text = self._run("apt-cache", "show", "--no-all-versions", name)
            record = next(sources.stanzas(text))
            return Package(
                name=record["package"],
                version=record["version"],
                architecture=record["architecture"],
                filename=record["filename"],
                size=int(record["size"]),
                sha256=record["sha256"],
                depends=", ".join(record.get(k, "") for k in ("pre-depends", "depends")),
            )
        except (ImageError, StopIteration, KeyError, ValueError) as error:
            if isinstance(error, ImageError) and _NOT_FOUND not in str(error):
                raise
            raise PackageGone(
                f"package {name!r} is not in Debian suite {self._suite!r}",
                package=name,
                next_step="correct 'packages' or 'kernel' in the image profile",
            ) from error

    def with_dependencies(self, names: Sequence[str]) -> list[Package]:
        """Return packages with all that they depend on, as apt would install them from nothing.

        Raises:
            ImageError: apt finds no way to install them.
        """
        plan = self._run("apt-get", "-s", "--no-install-recommends", "install", *names)
        return [self.lookup(name) for name in _INSTALLED.findall(plan)]

    def kernel_versions(self) -> list[str]:
        """Return the versions of Debian's arm64 kernel that the suite has, as names tell them.

        A kernel of which a part has left the archive is none.
        """
        return whole_kernels(self._run("apt-cache", "dumpavail"))

    def resolve_source(self, name: str) -> Package:
        """Return a kernel source package, found by its name or by the metapackage's.

        Raises:
            PackageGone: the suite has no such package.
        """
        package = self.lookup(name)
        match = _KERNEL_SOURCE.search(package.depends)
        return self.lookup(match[0]) if match else package

    def resolve_kernel(self, name: str) -> list[Package]:
        """Return the packages that make up a kernel, found from any of them or a metapackage.

        Raises:
            PackageGone: the suite lacks one of them, which the error names.
        """
        found: dict[str, Package] = {}
        waiting = [name]
        while waiting:
            package = self.lookup(waiting.pop())
            found[package.name] = package
            waiting += [part for part in _kernel_parts(package.depends) if part not in found]
        return list(found.values())

    def fetch(self, packages: Iterable[Package], store: Path, progress: Progress) -> list[Path]:
        """Return the packages' files in ``store``, fetching those that it lacks.

        Raises:
            ImageError: a package is gone, or what came is not what the package list promised.
        """
        paths: list[Path] = []
        for package in packages:
            path = store / f"{package.sha256}.deb"
            paths.append(path)
            if path.is_file() and _sha256(path) == package.sha256:
                touch(path)
                continue
            progress(f"fetching {package.name} {package.version} ({package.size / 1e6:.1f} MB)")
            with draft(store) as folder:
                exact = f"{package.name}={package.version}"
                self._run("apt-get", "-q", "download", exact, cwd=folder)
                (got,) = folder.glob("*.deb")
                if (digest := _sha256(got)) != package.sha256:
                    raise ImageError(
                        f"{package.name} {package.version} has SHA-256 {digest}, "
                        f"expected {package.sha256}",
                        next_step="try again; if it stays so, the mirror is damaged",
                    )
                got.replace(path)
        return paths


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def apt_root(suite: str, parent: Path, *, architecture: str = "arm64") -> Iterator[AptRoot]:
    """Enter a private apt root for one suite on the host's own mirror; it is gone afterwards.

    It is made below ``parent``, where nobody may sweep meanwhile: of the cache's folders, hold
    :func:`farm.image.cache.building`.

    Raises:
        ImageError: no apt or no archive keys on this machine.
        NoMirror: no mirror for the suite.
    """
    _tool("apt-get")
    found = sources.host_sources()
    mirror = sources.debian_mirror(found, suite)
    keyring = sources.archive_keyring(found)
    dump = subprocess.run(
        [_tool("apt-config"), "dump"], capture_output=True, text=True, errors="replace", check=False
    ).stdout
    network = [line for line in dump.splitlines() if _ACQUIRE.match(line)]
    with draft(parent) as root:
        for folder in ("lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True)
        (root / "status").touch()
        (root / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {suite} main\n")
        settings = {
            "Dir::Etc::Main": "/dev/null",
            "Dir::Etc::Parts": "/dev/null",
            "Dir::Etc::SourceList": f"{root}/sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": f"{root}/lists",
            "Dir::State::Status": f"{root}/status",
            "Dir::Cache": f"{root}/cache",
            "APT::Architecture": architecture,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        lines.append(f'APT::Architectures {{ "{architecture}"; }};')
        (root / "apt.conf").write_text("\n".join([*lines, *network]) + "\n")
        yield AptRoot(root, suite)


def unpack(package: Path, target: Path) -> None:
    """Unpack a package's files below ``target``, which is made if need be.

    Raises:
        ImageError: dpkg is missing or refuses the file.
        OSError: the disk is full.
    """
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [_tool("dpkg-deb"), "-x", str(package), str(target)],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        if DISK_FULL in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(package))
        raise ImageError(
            f"dpkg-deb cannot unpack {package.name}: {done.stderr.strip()[-200:]}",
            next_step="remove the file and try again",
        )
