"""Building a kernel from a source package: the real tools on a source tree of a few lines."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.errors import ConfigError, ImageError
from farm.image import cache, kernel
from farm.image.apt import Package
from farm.image.kconfig import read_fragments
from farm.image.kernel import BuiltKernel

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("dpkg-deb", "make", "tar", "xz")),
    reason="no Debian build tools",
)

MAKEFILE = """\
ifdef M
modules:
\t@test ! -e $(M)/broken.c || { echo 'broken.c:1: error: broken'; exit 1; }
\t@test ! -e $(M)/Kbuild || cp $(M)/Kbuild $(M)/one.ko
else
allnoconfig:
\t@grep -v CONFIG_LOST $(KCONFIG_ALLCONFIG) > .config
Image:
\t@echo '  CC      init/main.o'
\t@! grep -q CONFIG_FAIL .config || { echo 'main.c:7: error: no luck'; exit 2; }
\t@mkdir -p arch/arm64/boot && echo kernel > arch/arm64/boot/Image
modules:
\t@touch Module.symvers
modules_install:
\t@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.12.1-test
\t@ln -s $(CURDIR) $(INSTALL_MOD_PATH)/lib/modules/6.12.1-test/build
endif
"""
CONTROL = """\
Package: linux-source-6.12
Version: 6.12.1-1
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a few lines
"""

Build = Callable[..., BuiltKernel]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build the small kernel with some options, in a cache of its own."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (kernel.COMPILER, "aarch64-linux-gnu-ld", "gcc", "flex", "bison", "bc"):
        (tools / name).write_text("#!/bin/sh\necho compiler 1.0\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "linux-source-6.12"
    for folder in ("include", "scripts", "arch/arm64/include"):
        (source / folder).mkdir(parents=True)
    (source / "include" / "a.h").write_text("")
    (source / "scripts" / "a.o").write_text("")
    (source / "Kconfig").write_text("")
    (source / "Makefile").write_text(MAKEFILE)
    (source / "arch" / "arm64" / "Makefile").write_text("")
    root = tmp_path / "package"
    (root / "usr" / "src").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(CONTROL)
    archive = root / "usr" / "src" / "linux-source-6.12.tar.xz"
    subprocess.run(["tar", "-cJf", archive, "-C", tmp_path, source.name], check=True)
    file = tmp_path / "source.deb"
    subprocess.run(["dpkg-deb", "-b", root, file], check=True, capture_output=True)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    package = Package("linux-source-6.12", "6.12.1-1", "all", "f.deb", 1, digest, "")

    def run(
        options: str = "CONFIG_A=y\n", progress: Callable[[str], None] = lambda _: None
    ) -> BuiltKernel:
        fragment = tmp_path / "a.config"
        fragment.write_text(options)
        fragments = read_fragments([fragment])
        return kernel.obtain(package, file, fragments, name="test", progress=progress)

    return run


def left() -> set[str]:
    return {path.name for path in cache.kernels_dir().iterdir()} - {".lock"}


def test_a_kernel_is_built_once(build: Build) -> None:
    said: list[str] = []
    made = build(progress=said.append)
    assert made.release == "6.12.1-test"
    assert made.image.read_text() == "kernel\n"
    assert (made.folder / kernel.CONFIG).read_text() == "CONFIG_A=y\n"
    assert (made.tree / "include" / "a.h").exists()
    assert not (made.tree / "scripts" / "a.o").exists()
    assert not os.path.lexists(made.modules / "build")
    assert [row.package for row in made.provenance] == ["linux-source-6.12", "kernel config"]
    assert made.compiler == "compiler 1.0"
    assert any("about" in line for line in said)
    again: list[str] = []
    assert build(progress=again.append) == made
    assert again == []
    assert build("CONFIG_B=y\n").id != made.id
    assert not list((cache.kernels_dir().parent / "logs").iterdir())


def test_a_wanted_option_that_does_not_hold_is_named(build: Build) -> None:
    with pytest.raises(ConfigError, match="no CONFIG_LOST=y: it comes out not set") as caught:
        build("CONFIG_A=y\nCONFIG_LOST=y\n")
    assert "a.config:2:" in str(caught.value)
    assert left() == set()


def test_a_broken_build_names_its_step_and_keeps_its_log(build: Build) -> None:
    with pytest.raises(ImageError, match=r"'compiling Linux 6\.12\.1' failed") as caught:
        build("CONFIG_FAIL=y\n")
    assert "main.c:7: error: no luck" in caught.value.message
    log = Path(caught.value.next_step.rpartition(" ")[2])
    assert "main.c:7: error: no luck" in log.read_text()
    assert left() == set()


def test_an_interrupted_build_leaves_nothing(build: Build) -> None:
    def stop(said: str) -> None:
        if said.startswith("compiling"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(progress=stop)
    assert left() == set()


def test_a_killed_build_is_swept_by_the_next(build: Build) -> None:
    (cache.kernels_dir() / f"{cache.DRAFT}killed" / "source").mkdir(parents=True)
    made = build()
    assert left() == {made.id, "steps-linux-source-6.12"}


def test_no_disk_space_is_said_before_it_is_short(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ImageError, match="not enough disk space") as caught:
        build()
    assert "farm gc" in caught.value.next_step
    assert left() == set()


def test_modules_are_built_against_the_tree(build: Build, tmp_path: Path) -> None:
    made = build()
    folder, work = tmp_path / "mine", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "Kbuild").write_text("obj-m += one.o\n")
    (one,) = kernel.build_modules(made, folder, work, lambda _: None)
    assert one.name == "one.ko"
    assert {path.name for path in folder.iterdir()} == {"Kbuild"}
    before = kernel.folders_digest([folder])
    (folder / "broken.c").write_text("")
    assert kernel.folders_digest([folder]) != before
    with pytest.raises(ImageError, match=r"'build mine' failed.*error: broken"):
        kernel.build_modules(made, folder, _fresh(tmp_path), lambda _: None)


def test_a_folder_without_a_module_is_named(build: Build, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ImageError, match="builds no kernel module"):
        kernel.build_modules(build(), empty, _fresh(tmp_path), lambda _: None)


def _fresh(folder: Path) -> Path:
    work = folder / "work2"
    work.mkdir()
    return work
