"""Steps of a long build: each with its log, an honest estimate, and no process left behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from farm.errors import ImageError

Progress = Callable[[str], None]

DISK_FULL = "No space left on device"
"""What programs say when a disk is full, in the locale C."""

_COMMAND = re.compile(r"  [A-Z][A-Z0-9_-]*( \[M\])?  ")
_WARNING = re.compile(r"\bwarning: ", re.I)
_FIRST_GUESS = 1800
_SAY_EVERY_S = 15.0
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "USER")
_FIXED: Mapping[str, str] = {
    "LC_ALL": "C",
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "farm",
    "KBUILD_BUILD_HOST": "farm",
    "KBUILD_BUILD_VERSION": "1",
}
"""Variables that would else make two builds of the same inputs differ."""


def ends_with_us(argv: list[str]) -> list[str]:
    """Return a command that gets SIGTERM when this process dies, where ``setpriv`` is at hand."""
    guard = shutil.which("setpriv")
    return [guard, "--pdeathsig", "TERM", "--", *argv] if guard else argv


class Steps:
    """Runs commands in ``folder``; what they say goes to ``log``, which the caller may drop."""

    def __init__(
        self, folder: Path, log: Path, progress: Progress, *, no_room: Callable[[], ImageError]
    ) -> None:
        """Begin a new log; ``no_room`` gives the error for a full disk."""
        self.folder = folder
        self._log = log
        self.say = progress
        self._no_room = no_room
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def run(self, step: str, argv: list[str], *, warnings: bool = True) -> None:
        """Run one command to its end, in which it may warn or not.

        Raises:
            ImageError: it failed; names the step, its first error and its log.
        """
        warned = [line for line in self._lines(step, argv) if _WARNING.search(line)]
        if warned and not warnings:
            raise ImageError(
                f"step '{step}' warns, and must not: {warned[0].strip()[:200]}",
                next_step=f"read its log, {self._log}",
            )

    def compile(self, what: str, argv: list[str], *, memory: Path) -> None:
        """Run ``make``, saying every while how far it is and how long it will still take.

        ``memory`` keeps how many commands it was the last time.

        Raises:
            ImageError: as :meth:`run`.
        """
        total = _remembered(memory)
        self.say(f"{what}: about {total} commands; some minutes, cached afterwards")
        began = said = time.monotonic()
        count = 0
        for line in self._lines(what, argv):
            count += _COMMAND.match(line) is not None
            now = time.monotonic()
            if now - said >= _SAY_EVERY_S:
                said = now
                self.say(f"{what}: {progress_words(count, total, now - began)}")
        memory.write_text(f"{count}\n")

    def _lines(self, step: str, argv: list[str]) -> Iterator[str]:
        environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        with self._log.open("ab") as log:
            start = log.tell()
            log.write(f"# {' '.join(argv)}\n".encode())
            process = subprocess.Popen(
                ends_with_us(argv),
                cwd=self.folder,
                env={**environment, **_FIXED},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            assert process.stdout is not None
            try:
                for raw in process.stdout:
                    log.write(raw)
                    yield raw.decode("utf-8", "replace").rstrip("\n")
                code = process.wait()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            finally:
                process.stdout.close()
        if code != 0:
            raise self._failure(step, code, start)

    def _failure(self, step: str, code: int, start: int) -> ImageError:
        with self._log.open("rb") as stream:
            stream.seek(start)
            stream.readline()  # the command, whose words are no error
            text = stream.read(64 << 20).decode("utf-8", "replace")
        if DISK_FULL in text:
            return self._no_room()
        return ImageError(
            f"step '{step}' failed with exit code {code}: {_reason(text.splitlines())}",
            next_step=f"read its log, {self._log}",
        )


def _reason(lines: list[str]) -> str:
    """Return the line that says best why a command failed: a compiler's error, then any other."""
    for telling in (r": (fatal )?error: ", r"\berror: ", r"\berror\b|\*\*\*"):
        for line in lines:
            if re.search(telling, line, re.I):
                return line.strip()[:200]
    return lines[-1].strip()[:200] if lines else ""


def progress_words(count: int, total: int, spent_s: float) -> str:
    """Return how far a build is: ``1240 of about 1800 commands, about 3 min left``."""
    if count >= total or count == 0:
        return f"{count} commands done"
    left = spent_s * (total - count) / count
    left_words = f"about {left / 60:.0f} min" if left >= 90 else f"about {left:.0f} s"
    return f"{count} of about {total} commands, {left_words} left"


def _remembered(memory: Path) -> int:
    try:
        return max(1, min(100_000, int(memory.read_text())))
    except (OSError, ValueError):
        return _FIRST_GUESS
