"""Text and numbers as reports show them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.report.numbers import change, quantity
from farm.report.spark import sparkline
from farm.report.text import duration, number, one_line, plain

THIN = "\N{NARROW NO-BREAK SPACE}"


@given(st.text())
def test_plain_text_is_legal_xml(text: str) -> None:
    element = ElementTree.Element("a", value=plain(text))
    element.text = plain(text)
    assert ElementTree.fromstring(ElementTree.tostring(element, "unicode")) is not None
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", plain(text))
    assert "\n" not in one_line(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x1b[?25lx\x1b(B", "x\\x1b(B"),
        ("a\r\nb\rc", "a\nb\\x0dc"),
        ("bell\x07 nul\x00 del\x7f", "bell\\x07 nul\\x00 del\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_plain_text_drives_no_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0, "ns", f"0{THIN}ns"),
        (1900.0, "ns", f"1.9{THIN}µs"),
        (655_000.0, "ns", f"655{THIN}µs"),
        (2e9, "ns", f"2{THIN}s"),
        (1 << 20, "B", f"1{THIN}MiB"),
        (12400.0, "count", f"12{THIN}400"),
        (25_067_607.0, "count", f"25.1{THIN}M"),
        (0.25, "1", "0.25"),
        (30.0, "Hz", f"30{THIN}Hz"),
    ],
)
def test_quantities(value: float, unit: str, shown: str) -> None:
    assert quantity(float(value), unit) == shown


def test_changes() -> None:
    assert [change(one) for one in (None, 0.0, 0.026, -0.5, 0.4, 20.0)] == [
        "",
        "±0 %",
        "+2.6 %",
        "\N{MINUS SIGN}50 %",
        "+40 %",
        "\N{MULTIPLICATION SIGN}21",
    ]


def test_durations_and_numbers() -> None:
    assert [duration(one) for one in (0.02, 9.5, 62.0, 3700.0)] == [
        "20 ms",
        "9.5 s",
        "1 min 2 s",
        "1 h 1 min",
    ]
    assert isinstance(number(3.0), int) and isinstance(number(3.5), float)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_a_sparkline_stays_in_its_box(values: list[float]) -> None:
    drawn = sparkline(values, "<b>", width=64, height=16)
    assert "&lt;b&gt;" in drawn
    path = re.search(r'd="M([^"]*)"', drawn)
    assert path
    points = [tuple(map(float, point.split())) for point in path[1].split("L")]
    assert len(points) == len(values)
    assert all(0 <= x <= 64 and 0 <= y <= 16 for x, y in points)
