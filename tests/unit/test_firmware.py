"""Which firmware a board has, from what it tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.board.firmware import DIRECT, MAX_TOLD, UNTOLD, firmware

BANNER = "U-Boot 2025.01-3 (Apr 08 2025 - 23:06:53 +0000)"
SPL = "U-Boot SPL 2025.01-3 (Apr 08 2025 - 23:06:53 +0000)"
PSCI = "[    0.000000] psci: PSCIv1.1 detected in firmware."
DMI = {"bios_vendor": "EDK II", "bios_version": "2022.11-6", "bios_date": "02/02/2022"}


@pytest.mark.parametrize(
    ("told", "console", "direct", "wanted"),
    [
        ({}, [SPL, BANNER, "Booting Linux"], False, {"firmware": BANNER}),
        ({}, ["U-Boot 2023.01", BANNER], False, {"firmware": BANNER}),
        (
            {"uboot": "2025.07"},
            [SPL, PSCI],
            False,
            {"firmware": "U-Boot 2025.07", "psci": "PSCIv1.1"},
        ),
        (DMI, [], False, {"firmware": "EDK II 2022.11-6 02/02/2022"}),
        ({}, [PSCI], True, {"firmware": DIRECT, "psci": "PSCIv1.1"}),
        ({}, [], False, {"firmware": UNTOLD}),
    ],
)
def test_the_first_that_tells_counts(
    told: dict[str, str], console: list[str], direct: bool, wanted: dict[str, str]
) -> None:
    assert firmware(told, console, direct=direct) == wanted


@given(
    told=st.dictionaries(st.sampled_from(["uboot", *DMI]), st.text()), console=st.lists(st.text())
)
def test_whatever_a_board_says_is_bounded(told: dict[str, str], console: list[str]) -> None:
    found = firmware(told, [*console, f"U-Boot 2025.01{'x' * 5000}"])
    assert all(len(value) <= MAX_TOLD for value in found.values())
