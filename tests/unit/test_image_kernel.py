"""Kernels from source: fragments, steps, and what a machine without a compiler is told."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ConfigError, ImageError
from farm.image import kernel
from farm.image.kconfig import read_fragments
from farm.image.steps import Steps, progress_words


def fragment(folder: Path, text: str, name: str = "a.config") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_what_a_later_fragment_says_counts(tmp_path: Path) -> None:
    first = fragment(tmp_path, '# why\nCONFIG_A=y\nCONFIG_B=m\n\nCONFIG_NAME="-x"\n')
    second = fragment(tmp_path, "# CONFIG_B is not set\nCONFIG_N=0x10\n", "b.config")
    merged = read_fragments([first, second])
    assert merged.text == ('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=0x10\nCONFIG_NAME="-x"\n')
    merged.check('CONFIG_A=y\nCONFIG_N=0x10\nCONFIG_NAME="-x"\nCONFIG_C=y\n', "Linux 6.12")


@pytest.mark.parametrize(
    ("config", "line", "said"),
    [
        ("", 2, "Linux 6.12 has no CONFIG_A=y: it comes out not set"),
        ("CONFIG_A=m\n", 2, "it comes out as m"),
        ("# CONFIG_A is not set\n", 2, "it comes out not set"),
        ("CONFIG_A=y\nCONFIG_B=y\n", 3, "has no CONFIG_B=not set: it comes out as y"),
        ("CONFIG_B=y\n", 2, "it comes out not set; nor has it CONFIG_B=not set"),
    ],
)
def test_a_kernel_without_a_wanted_option_names_it(
    tmp_path: Path, config: str, line: int, said: str
) -> None:
    path = fragment(tmp_path, "\nCONFIG_A=y\n# CONFIG_B is not set\n")
    with pytest.raises(ConfigError) as caught:
        read_fragments([path]).check(config, "Linux 6.12")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert "depends on" in caught.value.next_step


@pytest.mark.parametrize("line", ["CONFIG_A", "A=y", "CONFIG_A=yes", 'CONFIG_A="x', "config a"])
def test_a_line_that_is_no_option_is_named(tmp_path: Path, line: str) -> None:
    path = fragment(tmp_path, f"# comment\n{line}\n")
    with pytest.raises(ConfigError, match="expected CONFIG_NAME=VALUE") as caught:
        read_fragments([path])
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_fragment_that_is_gone_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_fragments([tmp_path / "gone"])


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_fragment_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.config"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        merged = read_fragments([path])
        path.write_text(merged.text)
        assert read_fragments([path]).text == merged.text


def steps(folder: Path, said: list[str]) -> Steps:
    return Steps(
        folder, folder / "logs" / "a.log", said.append, no_room=lambda: ImageError("no room")
    )


def test_a_broken_step_is_named_and_keeps_its_log(tmp_path: Path) -> None:
    script = "echo fine; echo 'a.c:3: error: no such thing' >&2; echo late; exit 2"
    with pytest.raises(ImageError, match="step 'compile' failed with exit code 2") as caught:
        steps(tmp_path, []).run("compile", ["sh", "-c", script])
    log = tmp_path / "logs" / "a.log"
    assert "a.c:3: error: no such thing" in caught.value.message
    assert str(log) in caught.value.next_step
    assert log.read_text().endswith("fine\na.c:3: error: no such thing\nlate\n")


def test_a_broken_step_is_told_in_its_own_words(tmp_path: Path) -> None:
    made = steps(tmp_path, [])
    made.run("unpack", ["sh", "-c", "echo 'tar: error.c: fine'; echo 'old.c:1: error: elsewhere'"])
    script = "echo '  CC  lib/error.o'; echo 'b.c:9: fatal error: no such file'; exit 1"
    with pytest.raises(ImageError, match=r"exit code 1: b\.c:9: fatal error: no such file"):
        made.run("compile", ["sh", "-c", script])
    with pytest.raises(ImageError, match=r"exit code 3: $"):
        made.run("compile", ["sh", "-c", "exit 3"])


def test_a_step_that_must_not_warn(tmp_path: Path) -> None:
    made, warn = steps(tmp_path, []), ["sh", "-c", "echo 'a.c:2: warning: unused variable'"]
    made.run("compile", warn)
    with pytest.raises(ImageError, match=r"'compile' warns, and must not: a\.c:2: warning: unused"):
        made.run("compile", warn, warnings=False)


def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    script = "echo 'as: out.o: No space left on device'; exit 1"
    with pytest.raises(ImageError, match="no room"):
        steps(tmp_path, []).run("compile", ["sh", "-c", script])


def test_what_a_step_started_ends_with_it(tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    seen: list[int] = []
    script = "sleep 1000 & echo $!; wait"
    running = steps(tmp_path, [])._lines("compile", ["sh", "-c", script])
    with pytest.raises(Stop):
        for line in running:
            seen.append(int(line))
            running.throw(Stop())
    (child,) = seen
    # It was killed with its group; its new parent reaps it sooner or later.
    stat = Path(f"/proc/{child}/stat")
    with contextlib.suppress(FileNotFoundError):
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def test_the_caller_s_make_does_not_leak_into_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-n")
    monkeypatch.setenv("ARCH", "x86")
    steps(tmp_path, []).run("look", ["sh", "-c", 'test -z "$MAKEFLAGS$ARCH"'])


def test_commands_are_counted_and_remembered(tmp_path: Path) -> None:
    said: list[str] = []
    script = "echo '  CC      a.o'; echo '  CC [M]  b.o'; echo make: done; echo '  LD      v'"
    memory = tmp_path / "memory"
    steps(tmp_path, said).compile("compiling", ["sh", "-c", script], memory=memory)
    assert memory.read_text() == "3\n"
    steps(tmp_path, said).compile("compiling", ["sh", "-c", script], memory=memory)
    assert "about 3 commands" in said[-1]


def test_what_is_left_is_estimated() -> None:
    assert progress_words(500, 2000, 60.0) == "500 of about 2000 commands, about 3 min left"
    assert progress_words(1900, 2000, 190.0) == "1900 of about 2000 commands, about 10 s left"
    assert progress_words(2100, 2000, 60.0) == "2100 commands done"


def test_missing_tools_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("make", "gcc", "tar", "xz"):
        (tmp_path / tool).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="aarch64-linux-gnu-gcc") as caught:
        kernel.check_tools()
    assert "flex" in caught.value.message and "make," not in caught.value.message
    assert "make setup-reference" in caught.value.next_step
    assert "gcc-aarch64-linux-gnu" in caught.value.next_step
    assert caught.value.exit_code == 3
