"""The ``programs`` that tests get: what is not a payload case, run on the board as it is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from farm.board.result import CaseComplaint
from farm.board.session import BoardSession, ProgramRun
from farm.events import ImageInfo
from farm.image.bundles import Bundle
from farm.inventory import BoardType, ImageProfile
from farm.model import Device, ImageProvenance
from farm.pytest_plugin.job import Job
from farm.pytest_plugin.record import Record
from farm.pytest_plugin.subcases import SubCase
from farm.run.closing import EXTERNAL

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Programs:
    """Programs on one board, for the time of one test; nothing boots before one is run."""

    def __init__(self, job: Job, record: Record) -> None:
        """Run on the board of ``job``; results are kept in ``record``."""
        self._job = job
        self._record = record

    @property
    def type(self) -> BoardType:
        """The board's type."""
        return self._job.settings.board_type

    @property
    def profile(self) -> ImageProfile:
        """The image profile that it boots."""
        return self._job.settings.profile

    @property
    def devices(self) -> tuple[Device, ...]:
        """Every device that board type and image declare."""
        return self._job.settings.devices

    @property
    def features(self) -> frozenset[str]:
        """Every feature that board type and image declare."""
        return self.type.features | self.profile.features

    @property
    def made_of(self) -> list[ImageProvenance]:
        """What the image is made of; nothing where it is not one of ours."""
        image: ImageInfo = self._job.image()
        return [ImageProvenance(**row.model_dump()) for row in image.packages]

    def run(
        self,
        bundle: Bundle | None,
        command: str,
        arguments: Sequence[str] = (),
        *,
        timeout_s: float,
        variables: Mapping[str, str] | None = None,
    ) -> ProgramRun:
        """Run a program of a bundle, or without one a command of the board's own.

        Raises:
            CaseComplaint: the kernel died.
            InfraError: the board was lost, or cannot take the bundle.
        """
        __tracebackhide__ = True
        if self._job.settings.exact:
            pytest.skip(f"{self.type.name} has no network to bring programs over")
        session = self._job.session()
        assert isinstance(session, BoardSession)
        setting = [f"{name}={value}" for name, value in (variables or {}).items()]
        words = [*(["env", *setting] if setting else []), command, *arguments]
        text = shlex.join(words)
        if bundle is not None:
            folder = session.install(bundle.archive, bundle.sha256)
            words = [*(["env", *setting] if setting else []), *bundle.command(command, arguments)]
            text = f"cd {folder} && exec {shlex.join(words)}"
            self._record.program_hash = bundle.id
            self.keep(f"{bundle.name}.json", json.dumps(bundle.provenance, indent=1) + "\n")
        return session.program(text, timeout_s=timeout_s)

    def forgive(self, complaint: CaseComplaint) -> None:
        """Hold nothing of a complaint of :meth:`run` against the test: it was expected."""
        self._job.session().ledger.forgive(complaint.events)

    def tell(self, found: Sequence[SubCase], note: str = "") -> None:
        """Record tests that a program told of; ``note`` is the test's reason where it passes."""
        self._record.subcases += found
        self._record.note = "; ".join(filter(None, (self._record.note, note)))

    def keep(self, name: str, text: str) -> Path:
        """Write a file that goes with the job's results."""
        folder = self._job.settings.out / EXTERNAL
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _UNSAFE.sub("_", name)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return path

    @property
    def progress(self) -> Callable[[str], None]:
        """What to tell how far a slow preparation is."""
        return lambda text: print(f"{self.type.name}: {text}", flush=True)
