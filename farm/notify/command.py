"""A command of the user's own that is given the morning report."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from farm.errors import UsageError
from farm.notify.channel import Message, NotTold

TIMEOUT_S = 60.0
MAX_SAID = 300
"""Bytes of what a failed command says last that are told."""


class Command:
    """Runs a command with the report as JSON on its standard input and the line in FARM_SUBJECT."""

    def __init__(self, words: Sequence[str], *, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Find the program; a relative path starts at ``folder``, where it also runs.

        Raises:
            UsageError: there is no such program, or it cannot be executed.
        """
        self.to = f"command {shlex.join(words)}"
        self._words = [_program(words[0], folder), *words[1:]]
        self._folder = folder
        self._timeout_s = timeout_s

    def check(self) -> None:
        """Do nothing: that the program is there is known."""

    def send(self, message: Message) -> None:
        """Run it.

        Raises:
            NotTold: it cannot be started, ends with another status than 0, or does not end.
        """
        with tempfile.TemporaryFile() as said:  # a child that it leaves behind may keep a pipe open
            try:
                done = subprocess.run(
                    self._words,
                    input=json.dumps(message.body).encode(),
                    cwd=self._folder,
                    env={**os.environ, "FARM_SUBJECT": message.subject},
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    timeout=self._timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise NotTold(f"{self.to} did not end within {self._timeout_s:g} s") from error
            except OSError as error:
                raise NotTold(f"{self.to} cannot be started: {error.strerror}") from error
            if done.returncode:
                end = said.seek(0, os.SEEK_END)
                said.seek(max(0, end - MAX_SAID))
                words = said.read(MAX_SAID).decode("utf-8", "replace").strip()
                raise NotTold(f"{self.to} ended with status {done.returncode}: {words}")


def _program(word: str, folder: Path) -> str:
    found = shutil.which(str(folder / word) if "/" in word else word)
    if found is not None:
        return found
    path = folder / word
    if "/" in word and path.is_file():
        raise UsageError(f"{path} cannot be executed", next_step=f"chmod +x {path}")
    raise UsageError(f"there is no program {word!r}", next_step="give its path, or install it")
