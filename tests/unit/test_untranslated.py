"""The control of "nothing bounced behind an IOMMU": translation is switched off, and on again."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from farm import paths

FUNCTION = "0000:00:05.0"


def load() -> ModuleType:
    file = paths.testsuites() / "constraints" / "test_reach.py"
    spec = importlib.util.spec_from_file_location("suite_of_reach", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Board:
    """A board's shell, with a folder in place of sysfs."""

    def __init__(self, sysfs: Path) -> None:
        self.sysfs = sysfs
        self.device = sysfs / "bus/pci/devices" / FUNCTION
        (self.device / "iommu_group").mkdir(parents=True)
        (self.device / "driver").mkdir()
        (sysfs / "bus/pci/drivers/refdev").mkdir(parents=True)
        self.type.write_text("DMA-FQ\n")

    @property
    def type(self) -> Path:
        return self.device / "iommu_group" / "type"

    def command(self, text: str) -> str:
        script = text.replace("/sys/", f"{self.sysfs}/")
        return subprocess.run(
            ["sh", "-c", script], check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.fixture(scope="module")
def untranslated() -> Any:
    return load().untranslated


def test_addresses_pass_meanwhile_and_are_translated_afterwards(
    board: Board, untranslated: Any
) -> None:
    with untranslated(board, FUNCTION) as bound:
        assert bound and board.type.read_text() == "identity\n"
        assert (board.sysfs / "bus/pci/drivers/refdev/bind").read_text() == f"{FUNCTION}\n"
        assert (board.device / "driver/unbind").read_text() == f"{FUNCTION}\n"
    assert board.type.read_text() == "DMA-FQ\n"


def test_translation_comes_back_after_a_failure(board: Board, untranslated: Any) -> None:
    with pytest.raises(ZeroDivisionError), untranslated(board, FUNCTION):
        raise ZeroDivisionError
    assert board.type.read_text() == "DMA-FQ\n"


def test_a_driver_that_refuses_the_device_is_told(board: Board, untranslated: Any) -> None:
    (board.device / "driver").rmdir()
    with untranslated(board, FUNCTION) as bound:
        assert not bound
    assert board.type.read_text() == "DMA-FQ\n"
