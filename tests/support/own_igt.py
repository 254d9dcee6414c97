"""IGT of a board's own: Debian's programs where distributions put them, and igt_runner.

Debian builds IGT for amd64 only. As in the farm's bundle, box64 runs the tests, whose ioctls are
then the board's kernel's own. igt_runner dies in box64 0.4.3, of a null pointer given to strdup(),
so QEMU runs it, which knows no ioctls of DRM, and needs none for that.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

from farm.board.ssh import SshLink
from farm.external import igt
from farm.image import apt, bundles, cache
from farm.image.initramfs import needed_libraries

FOLDER = "/usr/libexec/igt-gpu-tools"
OWN = "/opt/igt"
_LOADER, _QEMU = "ld-linux-x86-64.so.2", "qemu-x86_64"
_INSTALL_S = 300.0


def _runner(folder: Path) -> Path:
    """Return an archive of igt_runner, its libraries and the QEMU that runs it."""
    store = cache.packages_dir()
    with cache.building(), apt.apt_root("sid", folder, architecture="amd64") as archive:
        archive.update()
        found = archive.with_dependencies(["igt-gpu-tools"])
        kept = [one for one in found if one.name.startswith(("lib", "zlib", "igt-gpu-tools"))]
        for file in archive.fetch(kept, store, print):
            apt.unpack(file, folder / "amd64")
    with cache.building(), apt.apt_root("sid", folder) as archive:
        archive.update()
        (package,) = archive.fetch([archive.lookup("qemu-user")], store, print)
    made = folder / "runner"
    made.mkdir()
    program = folder / "amd64" / "usr" / "bin" / "igt_runner"
    shutil.copy(program, made)
    known = {path.name: path for path in (folder / "amd64" / "usr").glob("lib*/**/*.so*")}
    waiting = [_LOADER, *needed_libraries(program.read_bytes())]
    while waiting:
        name = waiting.pop()
        if not (made / name).exists():
            shutil.copy(known[name], made / name)
            waiting += needed_libraries((made / name).read_bytes())
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
    ) as unpacking:
        member = f"./usr/bin/{_QEMU}"
        subprocess.run(
            ["tar", "-x", "--strip-components=3", "-C", made, member],
            stdin=unpacking.stdout,
            check=True,
        )
    packed = folder / "runner.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as archive_file:
        archive_file.add(made, "runner")
    return packed


def install(link: SshLink, folder: Path) -> None:
    """Install IGT on a board as a distribution would; ``folder`` is scratch."""
    bundle = bundles.emulated(
        "igt",
        ["igt-gpu-tools-tests", "igt-gpu-tools"],
        {test: f"usr/libexec/igt-gpu-tools/{test}" for test in igt.TESTS},
        suite="sid",
    )
    loader = f"{OWN}/runner/{_LOADER} --library-path {OWN}/runner"
    programs = {
        f"{FOLDER}/{test}": f"cd {OWN} && exec {shlex.join(bundle.command(test))}"
        for test in igt.TESTS
    }
    programs["/usr/bin/igt_runner"] = f"exec {OWN}/runner/{_QEMU} {loader} {OWN}/runner/igt_runner"
    script = ["set -e", f"mkdir -p {OWN} {FOLDER}"]
    for name, archive in {"bundle": bundle.archive, "runner": _runner(folder)}.items():
        link.put(archive, f"/tmp/{name}", timeout=_INSTALL_S)
        script.append(f"tar -xzf /tmp/{name} -C {OWN} && rm /tmp/{name}")
    script.append(f"chmod 755 {OWN}/runner/*")
    for path, command in programs.items():
        text = f'#!/bin/sh\n{command} "$@"\n'
        script.append(f"printf %s {shlex.quote(text)} > {path} && chmod 755 {path}")
    listed = f"TESTLIST\n{' '.join(igt.TESTS)}\nEND\n"
    script.append(f"printf %s {shlex.quote(listed)} > {FOLDER}/test-list.txt")
    done = link.run("\n".join(script), timeout=_INSTALL_S)
    assert done.status == 0, done.stderr
