"""``farm doctor``: what this machine lacks for a run, and how to get it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from farm.cli.output import JsonFlag, add_row, out, print_json, table
from farm.errors import FarmError

app = typer.Typer()

ROOM = 2 << 30
"""Bytes that a first run needs for image, packages and payload, with some to spare."""

STYLES = {"ok": "green", "missing": "bold red", "later": "yellow"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    ``state`` is ``ok``, ``missing`` (a run cannot work) or ``later`` (a run gets it by itself, or
    works without it).
    """

    name: str
    state: str
    found: str
    get: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the system, the package that has it, and what it is for.

    ``needed`` says that no run on virtual boards works without it.
    """

    name: str
    package: str
    needed: bool
    purpose: str


def programs() -> tuple[Program, ...]:
    """Return the programs that runs use: those that ``make setup`` installs."""
    lines = (Path(__file__).parent / "programs.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split(maxsplit=3) for line in lines if line and not line.startswith("#"))
    return tuple(Program(name, package, need == "run", use) for name, package, need, use in rows)


def _which(name: str) -> str | None:
    """Return where a program is, also where only administrators look for it."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Tell what is missing for a run on this machine, and how to get it.

    Exits 3 if a run could not work, else 0. What a run fetches or builds by itself is told, too.

    Example:

      farm doctor && farm run
    """
    checks = list(examine())
    if as_json:
        print_json({"ok": healthy(checks), "checks": [asdict(check) for check in checks]})
    else:
        listing = table("", "what", "found", "how to get it")
        for check in checks:
            cells = [check.state, check.name, check.found, check.get]
            add_row(listing, cells, styles={0: STYLES[check.state]})
        out().print(listing)
    raise typer.Exit(0 if healthy(checks) else 3)


def healthy(checks: Iterable[Check]) -> bool:
    """Tell whether a run could work."""
    return all(check.state != "missing" for check in checks)


def examine(which: Callable[[str], str | None] = _which) -> Iterable[Check]:
    """Yield every check; ``which`` finds a program by name."""
    yield _python()
    for program in programs():
        yield check_program(program, which)
    yield from _labgrid()
    yield _compiler()
    yield from _project()
    yield _room()


def check_program(program: Program, which: Callable[[str], str | None]) -> Check:
    """Return whether a program is there."""
    path = which(program.name)
    if path is None:
        get = f"apt install {program.package}"
        state = "missing" if program.needed else "later"
        return Check(program.name, state, f"not found; it is for {program.purpose}", get)
    return Check(program.name, "ok", path)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", "ok", f"{version} ({sys.executable})")


def _labgrid() -> Iterable[Check]:
    folder = Path(sys.executable).parent
    for name in ("labgrid-client", "labgrid-coordinator", "labgrid-exporter"):
        path = folder / name
        if path.is_file():
            yield Check(name, "ok", str(path))
        else:
            yield Check(name, "missing", f"not in {folder}", "make setup")


def _compiler() -> Check:
    try:
        import importlib.metadata

        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return Check("ziglang", "missing", "not installed; it compiles the payload", "make setup")
    return Check("ziglang", "ok", version)


def _project() -> Iterable[Check]:
    from farm import image, inventory
    from farm.image.build import recipe
    from farm.image.cache import recall
    from farm.suites import load_suites

    try:
        types = inventory.load_board_types()
        suites = load_suites()
        yield Check("board-configs", "ok" if types else "missing", f"{len(types)} board types")
        yield Check("testsuites", "ok" if suites else "missing", " ".join(suites) or "no suite")
        wanted = sorted({kind.image for kind in types.values() if kind.virtual})
        for name in wanted:
            made: image.Image | None = recall(recipe(inventory.load_image_profile(name)))
            if made is None:
                found, get = "not built yet", f"farm image build {name} (a run does it, too)"
                yield Check(f"image {name}", "later", found, get)
            else:
                yield Check(f"image {name}", "ok", f"kernel {made.kernel_release}, id {made.id}")
    except FarmError as error:
        yield Check("project", "missing", error.message, error.next_step)


def _room() -> Check:
    from farm import paths

    folder = paths.cache_dir()
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free below {folder}"
    if free < ROOM:
        get = f"free {ROOM >> 30} GiB, or point XDG_CACHE_HOME at a larger disk"
        return Check("disk", "missing", found, get)
    return Check("disk", "ok", found)
