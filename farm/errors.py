"""The error tree.

::

    FarmError                 anything this package raises on purpose
    ├── UsageError            the caller's words are wrong: a flag, a name, a selection   (exit 2)
    │   └── ConfigError       a file is wrong: says file, line, key, seen, expected       (exit 2)
    ├── InfraError            the lab, the board or the controller failed                 (exit 3)
    │   ├── LabError          coordinator, exporter, place, lease, rack
    │   ├── ImageError        an image could not be built or found
    │   └── BoardError        power, boot, link of one board
    │       ├── BootError     the board never became ready
    │       ├── LinkLost      the control channel closed or the board went silent
    │       └── ProtocolError what came from the board is not what the payload says
    ├── TestBroken            the test itself broke: verdict ERROR
    │   ├── CaseCrashed       a payload case died in user space
    │   └── ControlError      a positive control that must be above zero was not
    ├── KernelComplaint       the kernel panicked, oopsed, warned or reset: verdict FAIL
    ├── NoExpectation         nothing says whether what was seen is right: verdict NEW
    └── JournalError          a journal line that cannot be read
"""

from __future__ import annotations

from collections.abc import Mapping


class FarmError(Exception):
    """Base of every error this package raises on purpose.

    ``str(error)`` is one sentence: what, where, what was seen and what was expected.
    ``next_step`` is what the reader can do now, or empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        """Keep the sentence and the next step apart, so that each can be shown in its place."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class UsageError(FarmError):
    """The caller asked for something that cannot be: exit 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A file says something wrong; ``str()`` starts with ``file:line:``."""


class InfraError(FarmError):
    """The lab, the board or the controller failed; never counted against a driver: exit 3."""

    exit_code = 3


class LabError(InfraError):
    """Coordinator, exporter, place, lease or rack."""


class ImageError(InfraError):
    """An image could not be built or found."""


class BoardError(InfraError):
    """One board's power, boot or link."""


class BootError(BoardError):
    """The board never became ready."""


class LinkLost(BoardError):
    """The control channel closed, or the board went silent."""


class ProtocolError(BoardError):
    """Bytes from the board do not follow the payload's protocol; never a PASS."""


class TestBroken(FarmError):
    """The test itself broke: verdict ERROR."""

    __test__ = False  # not a pytest class


class CaseCrashed(TestBroken):
    """A payload case died in user space (signal, abort, early exit)."""


class ControlError(TestBroken):
    """A positive control that must be above zero was not, so a zero beside it proves nothing."""


class KernelComplaint(FarmError):
    """The kernel panicked, oopsed, warned, stalled or reset under test: verdict FAIL."""


class NoExpectation(FarmError):
    """Nothing says whether what was seen is right: verdict NEW.

    ``observed`` is what can be accepted as an expectation, names to texts; empty where the test did
    not get as far as seeing it.
    """

    def __init__(
        self, message: str, *, observed: Mapping[str, str] | None = None, next_step: str = ""
    ) -> None:
        """Keep what was seen beside the sentence."""
        super().__init__(message, next_step=next_step)
        self.observed = dict(observed or {})


class JournalError(FarmError):
    """A journal, or a line of it, cannot be read; ``str()`` starts with the file."""

    exit_code = 2
