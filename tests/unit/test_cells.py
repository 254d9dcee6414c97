"""Cells of the sharing matrix, as the tests that look at a pair note them."""

from __future__ import annotations

import pytest

from farm.errors import UsageError
from farm.pytest_plugin.cells import Cell
from farm.pytest_plugin.record import Record


@pytest.mark.parametrize(
    ("info", "outcome", "returned"),
    [
        ({"outcome": "shared", "errno": "0", "carried": "yes"}, "shared", ("shared", "")),
        ({"outcome": "shared", "errno": "0", "carried": "no"}, "taken", ("shared", "")),
        ({"outcome": "shared", "errno": "0"}, "shared", ("shared", "")),
        ({"outcome": "refused", "errno": "EFAULT"}, "refused", ("refused", "EFAULT")),
    ],
)
def test_a_cell_is_shared_where_the_content_was_seen(
    info: dict[str, str], outcome: str, returned: tuple[str, str]
) -> None:
    record = Record()
    assert Cell(record).told("udmabuf", "cirrus", info) == returned
    errno = returned[1]
    assert record.cell == {
        "exporter": "udmabuf", "importer": "cirrus", "outcome": outcome, "errno": errno,
    }  # fmt: skip


def test_an_outcome_that_there_is_not() -> None:
    with pytest.raises(UsageError, match=r"outcome 'shred', expected one of .*'taken'"):
        Cell(Record())("udmabuf", "cirrus", "shred")
