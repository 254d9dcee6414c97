"""Answers of exact boards that need not be asked again: nothing that they depend on has changed.

One file each under ``cache_dir()/exact/``, named by the hash of everything that an answer depends
on. Safe to delete at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from farm import paths
from farm.board.exact.frames import Answer

FORMAT = 1
"""Part of every key: what an older version of this software kept is not read."""
MAX_BYTES = 8 << 20
"""Longest file that is read."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer from the cache; ``made`` is when it was measured (ISO 8601, UTC)."""

    answer: Answer
    made: str


class Cache:
    """Keeps the answers of boards that are alike in ``identity``.

    One that is not ``enabled`` gives nothing; what is measured is kept all the same.
    """

    def __init__(self, identity: Mapping[str, str], *, enabled: bool = True) -> None:
        """Take what identifies image, emulator and hardware; an empty identity keeps nothing."""
        self._identity = dict(identity)
        self._enabled = enabled

    def get(self, archive: bytes) -> Kept | None:
        """Return the answer to an archive if it is known."""
        path = self._path(archive)
        if not self._enabled or path is None:
            return None
        try:
            with path.open("rb") as stream:
                document = json.loads(stream.read(MAX_BYTES))
            lines, status, made = document["lines"], document["status"], document["made"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            return None
        if not isinstance(status, int) or not isinstance(made, str):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # what was used least goes first
        return Kept(Answer(tuple(lines), status), made)

    def put(self, archive: bytes, answer: Answer) -> None:
        """Keep an answer; a disk that is full keeps nothing."""
        path = self._path(archive)
        if path is None:
            return
        made = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"made": made, "status": answer.status, "lines": answer.lines}
        draft = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
                draft = Path(stream.name)
                json.dump(document, stream)
            draft.replace(path)
        except OSError:
            if draft is not None:
                draft.unlink(missing_ok=True)

    def _path(self, archive: bytes) -> Path | None:
        if not self._identity:
            return None
        known = json.dumps([FORMAT, self._identity], sort_keys=True).encode()
        key = hashlib.sha256(known + os.fsencode(hashlib.sha256(archive).hexdigest())).hexdigest()
        return paths.answers_dir() / key[:2] / f"{key[2:]}.json"
