"""Kernel behaviour that is known to be wrong, told from other failures by how it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from farm.pytest_plugin.board import CaseFailed


class KnownFailure(AssertionError):
    """A test failed in the way that is known."""


@contextmanager
def known_failure(
    request: pytest.FixtureRequest, reason: str, shows: str, *, when: bool = True
) -> Iterator[None]:
    """Make the test XFAIL for ``reason`` if what is done here fails and says ``shows``.

    ``shows`` is a regular expression, searched in the words of a failed case or assertion. What
    fails in other words is FAIL, and with nothing failed the test is XPASS. ``when`` says whether
    it is known of this board at all.
    """
    if when:
        request.applymarker(pytest.mark.xfail(raises=KnownFailure, reason=reason))
    try:
        yield
    except (CaseFailed, AssertionError) as failed:
        if when and re.search(shows, str(failed)):
            raise KnownFailure(str(failed)) from failed
        raise
