"""Builds the payload: one static binary of the C harness and all suites' cases.

The compiler is the pinned ``ziglang``, which brings its own C library and kernel headers, so the
same sources give the same bytes on every machine. A build is cached under
``cache_dir()/payload/<hash of sources, compiler and flags>/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote

from farm import crosscompiler, paths
from farm.board.casetable import TableEntry, read_case_table
from farm.errors import UsageError
from farm.image import cache

Target = Literal["aarch64", "host"]

_HARNESS = "payload"
_SELFTEST = "selftest"
_FLAGS = (
    "-static",
    "-std=gnu17",
    "-D_GNU_SOURCE",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-strict-aliasing",
    "-s",
)
_HOST_ARCHITECTURES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64"}
_COMPILE_LIMIT_S = 600
_CASE = re.compile(rb"^\s*CASE\(\s*(\w+)\s*,", re.M)
_CASE_HEAD = re.compile(rb"^CASE\(\s*(\w+)\s*,(.*?)^\{", re.M | re.S)
_NEEDS = re.compile(rb"\.needs = \"(\w+)\"")
_FIRST_ERROR = re.compile(
    r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$", re.M
)


@dataclass(frozen=True, slots=True)
class CaseInfo:
    """A case as the payload lists it.

    ``suite`` is the folder of its file (``selftest`` for the harness's own); ``file`` is relative
    to ``testsuites/``; ``params`` are all the parameters that it takes with their defaults, empty
    for one that must be given; ``hash`` are 16 hex digits of its source and the harness; ``needs``
    is what a board must have for it (``smp``: more than one CPU), or empty.
    """

    name: str
    suite: str
    doc: str
    file: str
    line: int
    timeout_ms: int
    params: Mapping[str, str]
    hash: str
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """A built payload: the binary, the SHA-256 of its bytes, and its cases."""

    path: Path
    sha256: str
    cases: tuple[CaseInfo, ...]

    def case(self, name: str) -> CaseInfo | None:
        """Return the case of that name, if the payload has it."""
        return next((case for case in self.cases if case.name == name), None)


def build(target: Target = "aarch64", *, extra: Sequence[Path] = (), only: str = "") -> Payload:
    """Return the payload for a board (``aarch64``) or for this machine (``host``), built if needed.

    ``extra`` are folders with further ``*.c`` files of cases, each a suite of its folder's name.
    ``only`` names one file of cases (``mapcache/reimport.c``): the payload then holds no other, so
    that its bytes do not depend on them.

    Raises:
        UsageError: the sources do not compile, two cases have one name, or there is no compiler.
    """
    sources = _limited(_checked(_collect(extra)), only)
    compiler = crosscompiler.version("the payload needs")
    architecture = "aarch64" if target == "aarch64" else _host_architecture()
    # With the hashes: how they are made may change while no source does.
    made_of = (_stamp(source) for source in sources)
    hashes = _case_hashes(sources, compiler)
    build_id = _digest(compiler, architecture, *_FLAGS, *made_of, *hashes.values())
    folder = paths.cache_dir() / "payload" / build_id[:32]
    cached = _load(folder)
    if cached is not None:
        return cached
    with cache.draft(_made(folder.parent)) as scratch:
        made = scratch / "made"
        made.mkdir()
        generated = scratch / "sources.c"
        generated.write_text(_generated(hashes, build_id), encoding="ascii")
        _compile(sources, generated, architecture, made / "payload")
        _describe(hashes, made)
        _move_into_place(made, folder)
    built = _load(folder)
    if built is None:
        raise UsageError(
            f"the payload in {folder} changed while it was built",
            next_step="delete that folder and try again",
        )
    return built


def needs_of_cases(extra: Sequence[Path] = ()) -> dict[str, str]:
    """Return what each case below ``testsuites/`` and in ``extra`` needs; compiles nothing.

    That is ``smp``, or nothing: ``struct farm_case`` in ``testsuites/payload/farm.h``.

    Raises:
        UsageError: two cases have one name; names both places.
    """
    found = {}
    for source in _checked(_collect(extra)):
        for match in _CASE_HEAD.finditer(source.content):
            needs = _NEEDS.search(match[2])
            found[match[1].decode()] = needs[1].decode() if needs else ""
    return found


# --- sources -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    name: str  # "suite/file.c": what __FILE__ says
    content: bytes

    @property
    def folder(self) -> str:
        return self.name.partition("/")[0]

    @property
    def is_harness(self) -> bool:
        return self.is_interface or (self.folder == _HARNESS and self.is_shared)

    @property
    def is_shared(self) -> bool:
        """Whether all cases of its folder are made of it: a header, or C without a case."""
        return self.path.suffix == ".h" or _CASE.search(self.content) is None

    @property
    def is_interface(self) -> bool:
        return self.path.stem == self.folder and _is_kernel_module(self.path.parent)


def _is_kernel_module(folder: Path) -> bool:
    """Return whether a folder is built by the kernel: the header of its name is its interface."""
    return (folder / "Kbuild").is_file()


def _collect(extra: Sequence[Path]) -> tuple[_Source, ...]:
    """Return all C files and headers, sorted by name; of kernel modules their interfaces only."""
    suites = paths.testsuites()
    folders = [folder for folder in suites.iterdir() if folder.is_dir()]
    folders += [folder.resolve() for folder in extra]
    sources = [
        _Source(path, f"{folder.name}/{path.name}", path.read_bytes())
        for folder in folders
        for path in folder.iterdir()
        if path.suffix in (".c", ".h") and path.is_file()
        if not _is_kernel_module(folder) or path.name == f"{folder.name}.h"
    ]
    for name, count in Counter(source.name for source in sources).items():
        if count > 1:
            seen = ", ".join(str(source.path) for source in sources if source.name == name)
            raise UsageError(
                f"{count} files are called {name}: {seen}",
                next_step="rename the extra folder: its name is the suite's name",
            )
    return tuple(sorted(sources, key=lambda source: source.name))


def _checked(sources: tuple[_Source, ...]) -> tuple[_Source, ...]:
    """Return the sources if no two cases in them have one name."""
    first: dict[str, str] = {}
    for source in sources:
        if source.path.suffix != ".c":
            continue
        for number, line in enumerate(source.content.splitlines(), start=1):
            match = _CASE.match(line)
            if match is None:
                continue
            name, place = match[1].decode(), f"{source.path}:{number}"
            other = first.setdefault(name, place)
            if other is not place:
                raise UsageError(
                    f"{place}: case {name} is already defined at {other}",
                    next_step="give one of them another name: names are unique over all suites",
                )
    return sources


def _limited(sources: tuple[_Source, ...], only: str) -> tuple[_Source, ...]:
    """Return the harness, one file of cases and what its folder shares; all if none is named."""
    if not only:
        return sources
    chosen = next((source for source in sources if source.name == only), None)
    if chosen is None:
        raise UsageError(f"there is no file of cases {only!r} below testsuites/")
    return tuple(
        source
        for source in sources
        if source is chosen
        or source.is_harness
        or (source.is_shared and source.folder == chosen.folder)
    )


def _stamp(source: _Source) -> str:
    return f"{source.name}\0{hashlib.sha256(source.content).hexdigest()}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _case_hashes(sources: Sequence[_Source], compiler: str) -> dict[str, str]:
    """Return 16 hex digits per C file: itself, what its folder shares, harness and compiler."""
    harness = [_stamp(source) for source in sources if source.is_harness]
    version = _digest(compiler, *_FLAGS, *harness)
    shared: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        if source.is_shared:
            shared[source.folder].append(_stamp(source))
    return {
        source.name: _digest(version, _stamp(source), *shared[source.folder])[:16]
        for source in sources
        if source.path.suffix == ".c"
    }


# --- compiling ---------------------------------------------------------------------------------


def _host_architecture() -> str:
    machine = platform.machine()
    if machine not in _HOST_ARCHITECTURES:
        raise UsageError(
            f"the payload cannot be built for this machine: it is {machine}, expected one of "
            f"{', '.join(sorted(_HOST_ARCHITECTURES))}",
            next_step='build it for a board: build("aarch64")',
        )
    return _HOST_ARCHITECTURES[machine]


def _compile(sources: Sequence[_Source], generated: Path, architecture: str, binary: Path) -> None:
    # Every flag is part of what the compiler caches an object under: none may vary needlessly.
    roots = {source.path.parent.parent for source in sources}
    harness = next(source.path.parent for source in sources if source.folder == _HARNESS)
    command = [
        *crosscompiler.COMMAND,
        *("-target", f"{architecture}-linux-musl"),
        *_FLAGS,
        f"-I{harness}",
        *(f"-ffile-prefix-map={root}/=" for root in sorted(roots)),
        *("-o", str(binary)),
        *(str(source.path) for source in sources if source.path.suffix == ".c"),
        str(generated),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=generated.parent,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMPILE_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"compiling the payload took longer than {_COMPILE_LIMIT_S} s",
            next_step="see what else uses this machine, and try again",
        ) from None
    if done.returncode or not binary.is_file():
        raise _compile_error(done.stderr.decode("utf-8", "replace"), done.returncode)


def _generated(hashes: Mapping[str, str], build_id: str) -> str:
    rows = "".join(f'\t{{ "{name}", "{value}" }},\n' for name, value in hashes.items())
    return (
        '#include "harness.h"\n'
        f"const struct source_hash farm_sources[] = {{\n{rows}}};\n"
        "const size_t farm_source_count = ARRAY_SIZE(farm_sources);\n"
        f'const char farm_build_id[] = "{build_id}";\n'
    )


def _environment() -> dict[str, str]:
    """Keep what a process needs and nothing that could change the compiler's output."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, **crosscompiler.caches(), "LC_ALL": "C"}


def _compile_error(text: str, status: int) -> UsageError:
    match = _FIRST_ERROR.search(text)
    if match is None:
        where = f"the payload does not build (compiler exit status {status})"
    else:
        where = f"{match['file']}:{match['line']}: {match['text']}"
    shown = text if len(text) <= 4000 else f"{text[:4000]}\n[{len(text) - 4000} characters more]"
    return UsageError(
        f"{where}\n{shown.strip()}", next_step="correct that file; nothing was changed on a board"
    )


# --- what the binary holds ---------------------------------------------------------------------


def _describe(hashes: Mapping[str, str], made: Path) -> None:
    """Write ``payload.json`` beside the binary."""
    binary = (made / "payload").read_bytes()
    table = read_case_table(binary)
    document = {
        "sha256": hashlib.sha256(binary).hexdigest(),
        "cases": [
            {
                "name": entry.name,
                "suite": _suite(entry.file),
                "doc": entry.doc,
                "file": entry.file,
                "line": entry.line,
                "timeout_ms": entry.timeout_ms,
                "params": _params(entry),
                "hash": hashes[entry.file],
                "needs": entry.needs,
            }
            for entry in table
        ],
    }
    (made / "payload.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def _suite(file: str) -> str:
    folder = file.partition("/")[0]
    return _SELFTEST if folder == _HARNESS else folder


def _params(entry: TableEntry) -> dict[str, str]:
    pairs = (word.partition("=") for word in entry.params.split())
    return {key: unquote(value) for key, _, value in pairs}


# --- the cache ---------------------------------------------------------------------------------


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _move_into_place(made: Path, folder: Path) -> None:
    """Rename in one step; another process that was faster made the same, a damaged one goes."""
    try:
        made.rename(folder)
    except OSError:
        if _load(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)


def _load(folder: Path) -> Payload | None:
    """Return what is cached there; None if nothing is, or it is damaged."""
    binary = folder / "payload"
    try:
        document = json.loads((folder / "payload.json").read_text(encoding="utf-8"))
        sha256 = hashlib.sha256(binary.read_bytes()).hexdigest()
        with contextlib.suppress(OSError):
            os.utime(folder)  # what was used least goes first
        if sha256 != document["sha256"]:
            return None
        cases = tuple(
            CaseInfo(**{**case, "params": MappingProxyType(case["params"])})
            for case in document["cases"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Payload(path=binary, sha256=sha256, cases=cases)
